"""What a certificate is, on file: `certificate.json`, the policy that is deployed, its promises, and whom it is for.

It is sealed (`racer.sealed`): a policy or a promise that was edited by hand is certified for nobody.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from racer import __version__, sealed
from racer.aggregate import Aggregator, from_json
from racer.coupling import Coupling
from racer.errors import ConfigError
from racer.fingerprints import differing
from racer.policy import Policy, Track
from racer.rule import SetRule

FILE = "certificate.json"
AGAIN = "run `python scripts/certify.py run=DIR promises.error_among_answered=LEVEL`"


@dataclass(frozen=True)
class Certificate:
    """A policy with its fitted aggregator and the promises that it keeps with probability 1 - `delta`.

    Both are None if no policy was certified: then no model is called and no query answered. `tasks` holds by task the
    `kind` of its answers and its usual number of `options`. `fingerprint` names what it was certified for, `ways` how
    models were asked how sure they are (a pool file's `confidence`), by name, where that is known.
    """

    policy: Policy | None
    aggregator: Aggregator | None
    promises: dict[str, float]
    delta: float
    models: tuple[str, ...]
    tasks: dict[str, dict]
    fingerprint: dict
    ways: dict[str, str] = field(default_factory=dict)

    @property
    def hears(self) -> tuple[str, ...]:
        """The models whose own confidence in their answers the vote counts."""
        heard = () if self.aggregator is None else self.aggregator.hears
        return tuple(name for name, one in zip(self.models, heard, strict=False) if one)

    def save(self, path: str | os.PathLike, **beside) -> None:
        """Write the certificate, and what is known `beside` it; numbers keep every bit."""
        policy = None
        if self.policy is not None:
            policy = brief(self.policy, self.models) | {"aggregator": self.aggregator.to_json(),
                                                        "rule": asdict(self.policy.track.rule)}
        record = {"status": "none" if policy is None else "certified", "policy": policy,
                  "promises": self.promises, "confidence": 1 - self.delta, "delta": self.delta, **beside,
                  "models": list(self.models), "answer_tasks": self.tasks, "fingerprint": self.fingerprint,
                  "ways": self.ways, "racer": __version__}
        sealed.write(path, record)

    def check_pool(self, models: tuple[str, ...]) -> None:
        """Raise `ConfigError` unless it is for this pool, in this order."""
        if self.models != models:
            raise ConfigError(f"certificate.json is for the models {', '.join(self.models)}, the router has "
                              f"{', '.join(models)}: {AGAIN}")

    def difference(self, found: dict) -> str | None:
        """Return in what this router is not the one it was certified for, None if it is."""
        made_for, router = self.fingerprint.get("router"), found.get("router")
        parts = differing(self.fingerprint, found)
        if made_for == router and not parts:
            return None
        other = f"router {made_for}, this router is {router}" if made_for != router else f"other {', '.join(parts)}"
        return f"certificate.json is for {other}: its policy promises nothing here. For this router {AGAIN}"


def brief(policy: Policy, models: tuple[str, ...]) -> dict:
    """Return a policy as a record: what tells it apart from others of its grid, and its text."""
    rule, only = policy.track.rule, policy.track.only
    return {"text": policy.text(models), "only": None if only is None else models[only], "family": rule.family,
            "cost_power": rule.cost_power if rule.family == "coverage" and rule.prices is not None else None,
            "cut": "-inf" if policy.cut == -float("inf") else policy.cut, "size": policy.size,
            "aggregator": policy.aggregator, "calling": policy.calling, "threshold": policy.threshold}


def load(path: str | os.PathLike) -> Certificate:
    """Return the certificate in a file; raise `ConfigError` if there is none, or if it is not what was written."""
    if not Path(path).is_file():
        raise ConfigError(f"no certificate at {path}: {AGAIN}")
    record = sealed.read(path, "certificate", f"{AGAIN} again")
    try:
        models, found = tuple(record["models"]), record["policy"]
        policy = None if found is None else _policy(found, models)
        return Certificate(policy, None if found is None else from_json(found["aggregator"]), record["promises"],
                           record["delta"], models, record["answer_tasks"], record["fingerprint"],
                           record.get("ways", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is not a certificate ({type(error).__name__}: {error}): {AGAIN} again") from None


def _policy(record: dict, models: tuple[str, ...]) -> Policy:
    rule = {name: record["rule"][name] for name in SetRule.__dataclass_fields__}
    rule["prices"] = None if rule["prices"] is None else tuple(rule["prices"])
    if rule["coupling"] is not None:
        rule["coupling"] = Coupling(**{name: tuple(values) for name, values in rule["coupling"].items()})
    only = None if record["only"] is None else models.index(record["only"])
    return Policy(Track(SetRule(**rule), only), float(record["cut"]), record["size"], record["aggregator"]["name"],
                  record["calling"], record["threshold"])

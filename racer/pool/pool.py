"""The models of a pool file, ready to be called, with one ledger and one cache."""

from racer.errors import ConfigError
from racer.pool.cache import Cache
from racer.pool.file import Endpoint
from racer.pool.ledger import Ledger
from racer.pool.member import Member


class Pool:
    """Members by name. Close it with `await pool.close()`, or use it by `async with`."""

    def __init__(self, endpoints: list[Endpoint], ledger: Ledger | None = None, cache: Cache | None = None):
        self.ledger, self.cache = ledger or Ledger(), cache
        self.members = {one.name: Member(one, self.ledger, cache) for one in endpoints}

    def check(self, models: tuple[str, ...], beside: tuple[str, ...] = ()) -> None:
        """Raise `ConfigError` unless each of the router's models is in the pool, and none but these and `beside`."""
        known, wanted = set(self.members), {*models, *beside}
        if lacking := sorted(wanted - known):
            raise ConfigError(f"the pool has no entry for {', '.join(lacking)}: the router may ask for them, so add "
                              "them to the pool file")
        if strange := sorted(known - wanted):
            raise ConfigError(f"the pool names {', '.join(strange)}, which the router does not know: its models are "
                              f"{', '.join(models)}; mend the names or remove the entries")

    def check_confidence(self, heard: tuple[str, ...]) -> None:
        """Raise `ConfigError` unless each of these, whom a certified vote hears on their own answers, can be asked."""
        if silent := [name for name in heard if self.members[name].endpoint.confidence is None]:
            raise ConfigError(f"the certified vote hears how sure {', '.join(silent)} is of its answer, and the pool "
                              "file does not say how to ask: give its entry the key `confidence` that it had when the "
                              "answers were recorded, or certify with aggregators that hear none")

    def heard_otherwise(self, heard: tuple[str, ...], ways: dict[str, str]) -> str | None:
        """Return who of these would be asked another way than the one on record (`ways`), in words; None if nobody."""
        asked = {name: self.members[name].endpoint.confidence for name in heard}
        other = [f"{name} by {asked[name]}, on record by {ways[name]}" for name in heard
                 if name in ways and asked[name] != ways[name]]
        return "; ".join(other) or None

    def changed_by(self, body: dict, models: tuple[str, ...]) -> list[str]:
        """Return the keys of a user's request by which some of these are asked otherwise than the pool file says."""
        return sorted(set().union(*(self.members[name].changed_by(body) for name in models)))

    async def close(self) -> None:
        for member in self.members.values():
            await member.close()
        self.ledger.close()
        if self.cache is not None:
            self.cache.close()

    async def __aenter__(self) -> "Pool":
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

"""A trained router that opens by itself: text to probabilities to sets."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from racer import artifact, certificate, hashing, hub
from racer.artifact import Artifact
from racer.certificate import Certificate
from racer.config import EncoderConfig
from racer.consult import Answer, Consultation, Told, carry_out, form_of
from racer.decision import Decision, decide
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.fingerprints import of_router
from racer.router.encoder import Encoder
from racer.router.heads import Head
from racer.router.kinds import rebuilt
from racer.router.spend import Spend
from racer.routing import route_file
from racer.rows import CHUNK

BLOCK = 4096  # queries that the head sees at once
SETTINGS, FINGERPRINTS, HEAD, COST, ENCODER = ("router.json", "fingerprints.json", "head.safetensors",
                                               "cost.safetensors", "encoder")


@dataclass(frozen=True)
class Settings:
    """What a router must know beside its weights."""

    models: tuple[str, ...]
    trained_on: str  # the table's title
    head: dict  # its name and options
    pooling: str
    max_length: int
    truncation_side: str
    priced: bool  # whether it learned what calls cost

    @classmethod
    def of(cls, encoder: EncoderConfig, head: Head, models: Sequence[str], trained_on: str,
           priced: bool) -> "Settings":
        return cls(tuple(models), trained_on, {"name": head.name, **head.options}, encoder.pooling, encoder.max_length,
                   encoder.truncation_side, priced)

    def build(self, encoder_folder: Path) -> tuple[Encoder, Head]:
        """Return the encoder with its weights and a fresh head that fits it."""
        encoder = Encoder(encoder_folder, self.pooling, self.max_length, self.truncation_side)
        return encoder, rebuilt(self.head, encoder.width, len(self.models))


class Router:
    """Encoder, head and, once calibrated, the cut that turns probabilities into sets.

    `Router.load("OUT")` opens a run folder with no config; it may have been moved or copied.
    """

    def __init__(self, settings: Settings, encoder: Encoder, head: Head, spend: Spend | None):
        self.settings, self.encoder, self.head, self.spend = settings, encoder.eval(), head.eval(), spend
        self.fingerprint: str | None = None  # known once written or loaded
        self.home: Path | None = None  # the run that it was loaded from
        self.artifact: Artifact | None = None
        self.certificate: Certificate | None = None
        self.uncertified: str | None = None  # why calibration or certificate are not for this router

    @property
    def models(self) -> tuple[str, ...]:
        return self.settings.models

    @classmethod
    def load(cls, run: str | Path, allow_uncertified: bool = False, revision: str | None = None) -> "Router":
        """Return the router of a run folder, or of OWNER/NAME on the Hugging Face hub, with its calibration and its
        certificate where there are such; `revision` is a branch, tag or commit on the hub.

        Raises `ConfigError` if a file of the router is not the one that was saved, or if calibration or certificate
        were made for another router. With `allow_uncertified` it routes anyway, saying so in every decision;
        what was made for another pool, or another order of it, is refused all the same.
        """
        run = hub.located(run, revision)
        folder = run / hub.ROUTER
        fingerprint, uncertified = _fingerprint(folder, allow_uncertified)
        record = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        settings = Settings(**record | {"models": tuple(record["models"])})
        encoder, head = settings.build(folder / ENCODER)
        head.load_state_dict(load_file(folder / HEAD))
        spend = Spend(encoder.width, len(settings.models)) if settings.priced else None
        if spend:
            spend.load_state_dict(load_file(folder / COST))
        router = cls(settings, encoder, head, spend)
        router.fingerprint, router.home = fingerprint, run
        dtype = str(next(router.encoder.parameters()).dtype).removeprefix("torch.")
        found = of_router(folder) | {"router": fingerprint, "dtype": dtype}
        for name, kind in (("artifact", artifact), ("certificate", certificate)):
            if (run / kind.FILE).is_file():
                made = kind.load(run / kind.FILE)
                made.check_pool(router.models)
                setattr(router, name, made)
                router.uncertified = uncertified = uncertified or made.difference(found)
        if router.uncertified and not allow_uncertified:
            raise ConfigError(router.uncertified)
        return router

    def save(self, folder: str | Path, name: str | None = None) -> Path:
        """Write a folder that `load` opens anywhere; return it. It must be new or empty.

        It holds the router, its calibration, certificate and report where there are such, and a model card, which tells
        how to load it as `name` (the folder, if not given). Raises `ConfigError` for a router that is not as it was
        loaded, or that its calibration was not made for.
        """
        if self.home is None:
            raise ConfigError("this router was not loaded from a run: give Router.load(DIR) the run it was trained in")
        if self.uncertified:
            raise ConfigError(f"this router is saved only with a calibration of its own. {self.uncertified}")
        stored = [kind.load(path) if (path := self.home / kind.FILE).is_file() else None
                  for kind in (artifact, certificate)]
        if verified(self.home / hub.ROUTER) != self.fingerprint or stored != [self.artifact, self.certificate]:
            raise ConfigError(f"{self.home} has changed since this router was loaded from it: load it again")
        return hub.saved(self.home, Path(folder), str(folder) if name is None else name)

    def push_to_hub(self, name: str, private: bool = True, revision: str | None = None,
                    message: str = "A router, its calibration and its card") -> str:
        """Put what `save` writes on the Hugging Face hub as OWNER/NAME, with the card; return the commit's address.

        A repository that is not there yet is made, visible to its owner alone unless `private` is false. The hub's own
        client finds the token (`hf auth login`, or HF_TOKEN). Raises `ConfigError` as `save`, or if the hub takes none.
        """
        with TemporaryDirectory() as folder:
            return hub.upload(self.save(Path(folder) / "router", name), name, private, revision, message)

    def write(self, folder: Path) -> str:
        """Write weights, tokenizer, settings and fingerprints into `folder`, replacing it; return the fingerprint."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.encoder.save(folder / ENCODER)
        save_file({k: v.contiguous().cpu() for k, v in self.head.state_dict().items()}, folder / HEAD)
        if self.spend:
            save_file(self.spend.state_dict(), folder / COST)
        (folder / SETTINGS).write_text(json.dumps(asdict(self.settings), indent=1) + "\n", encoding="utf-8")
        _share(folder)
        files = hashing.of_folder(folder)
        self.fingerprint = hashing.of_json(files)
        record = {"router": self.fingerprint, "dtype": "float32", "files": files}
        (folder / FINGERPRINTS).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return self.fingerprint

    def to(self, device: str | torch.device) -> "Router":
        """Move the router to a device and return it; what calls cost is told on the CPU, in float64."""
        self.encoder.to(device)
        self.head.to(device)
        return self

    def embed(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
        """Return the encoder's vectors (n, C) float32; a text that comes again is embedded once."""
        places: dict[str, int] = {}
        rows = [places.setdefault(text, len(places)) for text in texts]
        return self.encoder.embed(list(places), progress)[rows]

    @torch.inference_mode()
    def of_vectors(self, vectors: np.ndarray, lengths: np.ndarray) -> Estimate:
        """Return what the router says of queries, from their vectors (n, C) and lengths (n,) in characters."""
        device = next(self.encoder.parameters()).device
        blocks = (torch.from_numpy(vectors[start:start + BLOCK]) for start in range(0, max(len(vectors), 1), BLOCK))
        outputs = np.concatenate([self.head(block.to(device)).cpu().numpy() for block in blocks])
        cost = None if self.spend is None else self.spend.usd(vectors, lengths)
        return replace(self.head.estimate(outputs), cost=cost)

    def estimate(self, texts: Sequence[str], progress: bool = False) -> Estimate:
        """Return what the router says of these texts."""
        return self.of_vectors(self.embed(texts, progress), lengths_of(texts))

    def probabilities(self, texts: Sequence[str], null: str, progress: bool = False) -> np.ndarray:
        """Return probabilities (n, M+1) float64, the null last and made as `null` says (`racer.sets.NULLS`).

        They are the router's own, without a joint that a calibration fitted to them.
        """
        return self.estimate(texts, progress).probabilities(null)

    def route(self, texts: Sequence[str], progress: bool = False,
              known: dict[str, Sequence] | None = None) -> list[Decision]:
        """Return the decision for each text: the calibrated set, or abstention.

        `known` holds what the calibration may ask for beside the text, one entry a text: `task` or `group` (None where
        unknown), `weight`.

        The same text alone or in a batch gets probabilities within 1e-5, and the same set unless a score
        lies within 1e-5 of the cut; `knn` and `clusters` jump where two neighbours or centres are that near to
        equally near. Raises `ConfigError` if the router is not calibrated or a text is empty.
        """
        _check_texts(texts)
        return decide(self.estimate(texts, progress), self.calibrated(), known, certified=self.uncertified is None)

    def route_file(self, source: str | Path, output: str | Path, chunk: int = CHUNK, progress: bool = False) -> Path:
        """Route a file of any length into another, in constant memory; killed, it goes on: `racer.routing.route_file`.
        """
        return route_file(self, source, output, chunk, progress)

    def calibrated(self) -> Artifact:
        """Return the calibration; raise `ConfigError` if there is none."""
        if self.artifact is None:
            raise ConfigError("this router is not calibrated: run `python scripts/calibrate.py run=DIR` first")
        return self.artifact

    def consult(self, text: str, task: str | None = None, kind: str | None = None,
                options: int | None = None) -> Consultation:
        """Return a consultation of the certified policy on one query: whom to call next, and in the end the answer.

        `task` is one of the certificate's; needed only where its tasks have answers of several kinds. `kind`
        (`racer.answers.ANSWER_KINDS`) and `options`, the number of possible answers, say it for a new task, for which
        nothing is promised (`racer.consult.form_of`).
        Raises `ConfigError` without a certificate.
        """
        _check_texts([text])
        if self.certificate is None:
            raise ConfigError("the answers of this run are not certified: run `python scripts/certify.py run=DIR "
                              "promises.error_among_answered=LEVEL` first")
        form = form_of(self.certificate, text, task, kind, options)
        return Consultation(self.certificate, self.estimate([text]), form, self.uncertified is None)

    def answer(self, text: str, ask: Callable[[str], Told], task: str | None = None, kind: str | None = None,
               options: int | None = None) -> Answer:
        """Return the certified policy's answer to one query, or its abstention; `ask(model)` calls a model.

        It returns the model's final answer in the form of the recorded ones ("B", "42"), None where it gave none.
        Where the certified vote hears how sure models are (`Consultation.hears`), it returns a pair of that answer and
        a confidence in [0, 1], None where the model says nothing. The rest is as in `consult`.
        """
        return carry_out(self.consult(text, task, kind, options), ask)


def lengths_of(texts: Sequence[str]) -> np.ndarray:
    """Return the length of each text in characters (n,)."""
    return np.array([len(text) for text in texts], dtype=np.int64)


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise ConfigError("route takes a list of texts, got one string: call route([text])")
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if empty:
        raise ConfigError(f"text {empty[0]} of {len(texts)} is empty: give every query a text")


def _share(folder: Path) -> None:
    """Give every file the mode that new files have here; safetensors keeps its own to their owner."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~umask)


def _fingerprint(folder: Path, allow_changed: bool) -> tuple[str, str | None]:
    """Return the router's fingerprint and None; of a changed one, if allowed, that of the files and what changed."""
    try:
        return verified(folder), None
    except ConfigError as error:
        if not allow_changed or not (folder / FINGERPRINTS).is_file():
            raise
        return hashing.of_json(hashing.of_folder(folder, skip=(FINGERPRINTS,))), str(error)


def verified(folder: Path) -> str:
    """Return the fingerprint of the router in `folder`; raise `ConfigError` if there is none or a file has changed."""
    if not (folder / FINGERPRINTS).is_file():
        run = folder.parent
        raise ConfigError(f"no router in {run}: expected {folder / FINGERPRINTS}. A run made of scores from a file "
                          "(router=file, scores=FILE) has none and cannot route a new query; train one with "
                          f"`python scripts/train.py run_dir={run}`")
    record = json.loads((folder / FINGERPRINTS).read_text(encoding="utf-8"))
    found = hashing.of_folder(folder, skip=(FINGERPRINTS,))
    changed = sorted(k for k in found.keys() | record["files"].keys() if found.get(k) != record["files"].get(k))
    if changed:
        raise ConfigError(f"{folder} is not the router that was saved, these files differ: {', '.join(changed)}; "
                          "restore them from a copy, or train again")
    return record["router"]

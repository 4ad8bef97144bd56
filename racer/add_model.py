"""One more model for a finished run: its parameters are fitted, those of the others stay, and the rest is made anew.

The encoder, the router's head and what it says of its models are left as they are. Fitted on train rows, with a ridge
that validation rows choose: the new model's chance of being right (`racer.linking`) and what its calls cost. Then
scores, calibration and report of all models are made in a folder of their own. No calibration row has a say in any of
that, so the new calibration promises what any other does.
"""

import itertools
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from racer import data, show, stages
from racer import scores as scores_file
from racer.config import Config
from racer.errors import ConfigError, TableError
from racer.estimate import Estimate
from racer.linking import Hidden, Rows, best_link
from racer.methods import check_feasible
from racer.newcomer import at_most, joined, newcomer
from racer.pipeline import check_learnable, conclude
from racer.risk import Risk
from racer.router import backbone
from racer.router.embeddings import vectors_of
from racer.router.encoder import Encoder
from racer.router.fit import accelerator_for
from racer.router.grown import GrownHead, base_of, logits_of
from racer.router.kinds import HEADS
from racer.router.router import BLOCK, Router, lengths_of
from racer.router.search import log_loss, scaling
from racer.router.spend import Spend
from racer.router.store import targets_of
from racer.scores import Scores
from racer.stages import Evaluation
from racer.table import OutcomeTable
from racer.tracking import Tracker

ON_LOGITS, ON_VECTORS = (1.0, 10.0, 100.0), (300.0, 1000.0, 3000.0, 10000.0)  # ridges, features being standardised
LEAST = 20  # outcomes on train rows, and on validation rows
SAME, MOST_OTHER = 0.01, 0.01  # probabilities nearer than this are the same; share of rows that may be others


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Addition:
    """What is at hand: the run's router, its scores, and the rows that have an outcome of the new model, last."""

    router: Router
    scores: Scores  # the router's own, of every row of the run
    table: OutcomeTable
    vectors: np.ndarray  # (n, C) of the table's queries
    targets: np.ndarray  # (n, M+1)

    @property
    def known(self) -> int:
        """How many models the router was trained with; those added later are not read by the next."""
        return len(self.router.models) - self.router.head.options.get("added", 0)

    def of_run(self) -> Scores:
        """Return the run's scores of the table's rows."""
        return self.scores.take(_places(self.scores, self.table.ids))


def run(config: Config, old: Path, model: str | None = None, outcomes: int | None = None) -> Evaluation:
    """Add a model to the run in the folder `old`; return what the evaluation of the new run in `config.run_dir` found.

    `config` are the run's settings with a table that has one more model, `model` if it has several; at most `outcomes`
    train rows are used. Raises `ConfigError` or `TableError` before anything is written if that cannot be.
    """
    run_dir = Path(config.run_dir)
    if run_dir.resolve() == old.resolve():
        raise ConfigError(f"run_dir={run_dir} is the run itself: give the new run a folder of its own")
    router, scores = _opened(config, old)
    table = _table(config, scores, model, outcomes)
    config = replace(config, data=replace(config.data, models=list(table.models)))
    check_feasible(len(table.rows("calibration")), Risk.of(asdict(config.risk)))
    show.table(table, config.data.right_at)
    given = Addition(router, scores, table, _vectors(config, router, table.queries.tolist()),
                     targets_of(config, table))
    _check_texts(given)
    run_dir.mkdir(parents=True, exist_ok=True)
    stages.clear(run_dir)
    stages.clear_answers(run_dir)
    with Tracker(run_dir, config.tracking, asdict(config)) as tracker:
        grown, numbers = fitted(given)
        tracker.log(numbers)
        show.added(numbers)
        return conclude(config, table, _scored(config, given, grown), tracker)


def fitted(given: Addition) -> tuple[Router, dict]:
    """Return the router with one more model, and how good it is on the validation rows."""
    table, name, y = given.table, given.table.models[-1], given.targets[:, -1]
    train, validation = table.rows("train"), table.rows("validation")
    said = _said_of_train(given, train), _said(given.router, given.vectors[validation])
    features = [np.column_stack([logits_of(e)[:, :given.known], given.vectors[rows]])
                for e, rows in zip(said, (train, validation), strict=True)]
    mean, scale = scaling(features[0])
    seen = [Rows((x - mean) / scale, y[rows], Hidden.given(e.joint, given.targets[rows, :-1]))
            for x, e, rows in zip(features, said, (train, validation), strict=True)]
    width = given.vectors.shape[1]
    ridges = [np.repeat(pair, [given.known, width]) for pair in itertools.product(ON_LOGITS, ON_VECTORS)]
    item, _ = best_link(*seen, tqdm(ridges, desc="fit", unit="ridge"))
    head = GrownHead.of(given.router.head, item.of_unscaled(mean, scale), width, _still_none(given.targets[train]))
    grown = _grown(given, head, f"{name} added from {len(train)} train outcomes")
    p, rate = _said(grown, given.vectors[validation]).models[:, -1], np.full(len(validation), y[train].mean())
    return grown, {"added": name, "train_outcomes": len(train), "validation_outcomes": len(validation),
                   "validation_loss": log_loss(p, y[validation]), "rate_loss": log_loss(rate, y[validation])}


def _opened(config: Config, run: Path) -> tuple[Router, Scores]:
    """Return the router of a run and its own scores; raise `ConfigError` unless another model can stand beside."""
    able = ", ".join(name for name, kind in HEADS.items() if kind.grows)
    if config.router.name == "file":
        raise ConfigError(f"{run} has no router, its probabilities came from a file: make one with those of the new "
                          "model too and run scripts/train.py again")
    router = Router.load(run)
    base = base_of(router.head)
    if not base.grows:
        raise ConfigError(f"the router of {run} is {base.name}: its numbers for the models of a query hang together, "
                          f"one more would change the others; those of {able} do not. Train again with all models")
    check_learnable(config.sets, router.head.name, router.head.learns_null, router.head.has_joint)
    return router, scores_file.load(run / "scores.npz").uncoupled()


def _table(config: Config, scores: Scores, model: str | None, outcomes: int | None) -> OutcomeTable:
    """Return the rows to work with; raise `TableError` if there are too few to fit anything to."""
    whole = data.read(config.data, missing="keep")
    name = newcomer(whole, scores.models, model)
    table = at_most(joined(whole, scores, name, config.data.right_at, config.data.missing), outcomes, config.seed)
    for split in ("train", "validation"):
        if (n := len(table.rows(split))) < LEAST:
            raise TableError(f"{n} {split} rows have an outcome of {name}, at least {LEAST} are needed (some hundred "
                             "train rows are better): collect more; `ids` and `split` of the run's scores.npz say "
                             "which query is which")
    return table


def _vectors(config: Config, router: Router, texts: list[str]) -> np.ndarray:
    """Return the encoder's vectors (n, C); those of a frozen one are kept in the cache, where training left them."""
    accelerator = accelerator_for(config.train)
    if config.encoder.freeze:
        vectors = vectors_of(texts, router.encoder, config.encoder, _source(config, router, texts),
                             Path(config.cache_dir), accelerator)
    else:
        vectors = router.to(accelerator.device).embed(texts, progress=True)
    router.to("cpu")
    return vectors


def _source(config: Config, router: Router, texts: list[str]) -> Path:
    """Return the folder by whose content vectors are kept: that of training, if it still holds the router's encoder."""
    own, e = router.home / "router" / "encoder", router.settings
    try:
        source = backbone.locate(config.encoder, Path(config.cache_dir))
    except ConfigError:  # it is not to be had any more: the run has its own
        return own
    then = Encoder(source, e.pooling, e.max_length, e.truncation_side).eval().embed(texts[:16])
    return source if np.allclose(then, router.embed(texts[:16]), atol=1e-6) else own


def _check_texts(given: Addition) -> None:
    """Raise `TableError` if the router says other things of these queries than when it was trained: other texts."""
    before = given.of_run().probabilities[:, :-1]
    other = (np.abs(_said(given.router, given.vectors).models - before) > SAME).any(axis=1)
    if other.mean() > MOST_OTHER:
        raise TableError(f"the router says other things of {other.sum()} of {len(other)} queries than when it was "
                         f"trained, the first is {given.table.ids[other.argmax()]!r}: their texts have changed. Give "
                         "the run's own queries, or train again")


def _said_of_train(given: Addition, rows: np.ndarray) -> Estimate:
    """Return what the router says of train rows, none of them being its own neighbour: as it will speak of others."""
    own = _places(given.scores.of_split("train"), given.table.ids[rows])
    return _said(given.router, given.vectors[rows], torch.from_numpy(own))


def _places(scores: Scores, ids: np.ndarray) -> np.ndarray:
    """Return the row of each id in the scores (k,)."""
    row = {query: i for i, query in enumerate(scores.ids.tolist())}
    return np.array([row[query] for query in ids.tolist()])


@torch.inference_mode()
def _said(router: Router, vectors: np.ndarray, own: torch.Tensor | None = None) -> Estimate:
    """Return what the router says of queries by their vectors (n, C); `own` are the places of those it was trained on.
    """
    blocks = torch.arange(len(vectors)).split(BLOCK)
    x, head = torch.from_numpy(vectors), router.head
    outputs = [head(x[rows]) if own is None else head.of_train(x[rows], own[rows]) for rows in blocks]
    return head.estimate(torch.cat(outputs).numpy())


def _still_none(targets: np.ndarray) -> float:
    """Return how often the new model, the last of targets (n, M+1), is wrong where all others are; 1/2 if unknown."""
    none_right = np.prod(1 - targets[:, :-1], axis=1)
    return float((none_right @ (1 - targets[:, -1]) + 1) / (none_right.sum() + 2))


def _grown(given: Addition, head: GrownHead, how: str) -> Router:
    """Return the router with the new head, and with what calls of the new model cost, where that is known of all."""
    old, table = given.router, given.table
    spend, cost, train = old.spend, table.complete_cost(), table.rows("train")
    if spend is not None and cost is not None:
        own = Spend.fit(given.vectors[train], lengths_of(table.queries[train]), cost[train, -1:])
        spend = spend.joined(own)
    elif spend is not None:
        log.warning("the cost of some calls of %s is unknown: the new run knows no costs at all", table.models[-1])
        spend = None
    settings = replace(old.settings, models=table.models, head={"name": head.name, **head.options},
                       trained_on=f"{old.settings.trained_on}; {how}", priced=spend is not None)
    return Router(settings, old.encoder, head, spend)


def _scored(config: Config, given: Addition, grown: Router) -> Scores:
    """Write the router into the new run; return what it says of every row."""
    table = given.table
    fingerprint = {"router": grown.write(Path(config.run_dir) / "router"), "table": table.fingerprint()}
    estimate = grown.of_vectors(given.vectors, lengths_of(table.queries))
    scores = Scores.of_table(table, config.data.right_at, estimate, fingerprint)
    old = given.of_run()
    return replace(scores, group=old.group, weight=old.weight)

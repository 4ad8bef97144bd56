"""One training, one router: trained routers are kept by the content they were made of, and used again.

A sweep over risk levels therefore trains each router once, and a training that was killed goes on.
`cache_dir/routers/KEY/` holds `router/`, `scores.npz` and `history.json`; `KEY.partial/` is a training
under way. Deleting the cache costs time and nothing else.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import set_seed

from racer import hashing
from racer import scores as scores_file
from racer.config import Config
from racer.errors import ConfigError
from racer.locks import OneAtATime
from racer.router import backbone
from racer.router.embeddings import vectors_of
from racer.router.encoder import Encoder
from racer.router.fit import Examples, accelerator_for
from racer.router.heads import labels_of
from racer.router.learn import learn
from racer.router.router import Router, Settings, lengths_of, verified
from racer.router.spend import Spend
from racer.scores import Scores
from racer.table import OutcomeTable

LOOKALIKE = 0.5  # of the tokens kept: above this, truncated queries hardly differ
NOT_OF_THE_WEIGHTS = ("cpu", "save_every")  # training settings that do not change what is learned

log = logging.getLogger(__name__)


def obtain(config: Config, table: OutcomeTable, run_dir: Path, tell: Callable[[dict], None]) -> Scores:
    """Train the router that `config` and `table` describe, or take it from the cache; return its scores.

    Puts it into `run_dir/router`. `tell` receives the training curve, line by line, also of a router used again.
    """
    cache = Path(config.cache_dir)
    accelerator = accelerator_for(config.train)
    with accelerator.main_process_first():  # it may have to fetch the weights
        source = backbone.locate(config.encoder, cache)
    home = cache / "routers" / _key(config, table, source)
    home.parent.mkdir(parents=True, exist_ok=True)
    with OneAtATime(accelerator, home.with_suffix(".lock")):
        if _is_whole(home, accelerator):
            log.info("this router was trained before, taken from %s", home)
            for numbers in json.loads((home / "history.json").read_text(encoding="utf-8")):
                tell(numbers)
        else:
            _train(config, table, source, home, accelerator, tell)
    if accelerator.is_main_process:
        shutil.rmtree(run_dir / "router", ignore_errors=True)
        shutil.copytree(home / "router", run_dir / "router")
    return scores_file.load(home / "scores.npz")


def _is_whole(home: Path, accelerator: Accelerator) -> bool:
    """Return whether a finished router is in `home`, every file as it was saved; a damaged one is removed."""
    if not (home / "scores.npz").exists():
        return False
    try:
        verified(home / "router")
        whole = True
    except ConfigError as error:
        log.warning("%s: the cached router is trained again", error)
        whole = False
    accelerator.wait_for_everyone()  # all have looked before it goes
    if not whole and accelerator.is_main_process:
        shutil.rmtree(home)
    return whole


def _key(config: Config, table: OutcomeTable, source: Path) -> str:
    """Name the training by everything that its weights and scores depend on."""
    encoder = {k: v for k, v in asdict(config.encoder).items() if k not in ("name", "path", "package", "sha256")}
    train = {k: v for k, v in asdict(config.train).items() if k not in NOT_OF_THE_WEIGHTS}
    return hashing.of_json({
        "table": table.fingerprint(), "title": table.title, "right_at": config.data.right_at,
        "source": hashing.of_folder(source), "encoder": encoder, "router": asdict(config.router),
        "head": asdict(config.head), "train": train, "seed": config.seed,
        "code": [hashing.of_file(p) for p in sorted(Path(__file__).parent.glob("*.py"))]})


def _train(config: Config, table: OutcomeTable, source: Path, home: Path, accelerator: Accelerator,
           tell: Callable[[dict], None]) -> None:
    """Train, score the whole table and move the result to `home` in one step."""
    partial = home.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    set_seed(config.seed)
    encoder = Encoder(source, config.encoder.pooling, config.encoder.max_length, config.encoder.truncation_side)
    _warn_of_lookalikes(encoder, table)
    texts = table.queries.tolist()
    vectors = (vectors_of(texts, encoder, config.encoder, source, Path(config.cache_dir), accelerator)
               if config.encoder.freeze else None)
    inputs = encoder.tokenize(texts) if vectors is None else vectors
    labels = labels_of(targets_of(config, table))
    train, validation = (_examples(inputs, labels, table.rows(s)) for s in ("train", "validation"))
    head, history = learn(config, encoder, train, validation, accelerator, partial, tell)
    if accelerator.is_main_process:
        if vectors is None:
            vectors = encoder.to(accelerator.device).embed(texts, progress=True)
        spend = _spend(table, vectors)
        settings = Settings.of(config.encoder, head, table.models, table.title, priced=spend is not None)
        router = Router(settings, encoder, head, spend).to(accelerator.device)
        fingerprint = {"router": router.write(partial / "router"), "table": table.fingerprint()}
        estimate = router.of_vectors(vectors, lengths_of(texts))  # in one process, by its final weights
        Scores.of_table(table, config.data.right_at, estimate, fingerprint).save(partial / "scores.npz")
        (partial / "history.json").write_text(json.dumps(history), encoding="utf-8")
        for leftover in (*partial.glob("state-*"), partial / "partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        os.replace(partial, home)
    accelerator.wait_for_everyone()


def targets_of(config: Config, table: OutcomeTable) -> np.ndarray:
    """Return what a router learns from a table (n, M): outcomes, or the recorded fractions with `train.soft_labels`."""
    right_at = config.data.right_at
    return table.soft_targets(right_at) if config.train.soft_labels else table.outcomes(right_at)


def _examples(inputs, labels: np.ndarray, rows: np.ndarray) -> Examples:
    chosen = inputs[rows] if isinstance(inputs, np.ndarray) else [inputs[r] for r in rows]
    return Examples(chosen, labels[rows])


def _spend(table: OutcomeTable, vectors: np.ndarray) -> Spend | None:
    """Return what the train rows tell of costs; None where not every cell of the table has one."""
    cost, train = table.complete_cost(), table.rows("train")
    if cost is None or len(train) < 2:
        return None
    return Spend.fit(vectors[train], lengths_of(table.queries[train]), cost[train])


def _warn_of_lookalikes(encoder: Encoder, table: OutcomeTable) -> None:
    side = encoder.tokenizer.truncation_side
    for task in np.unique(table.task.astype(str)):
        share = encoder.share_of_lookalikes(table.queries[table.task == task].tolist())
        if share > LOOKALIKE:
            other = "left" if side == "right" else "right"
            log.warning("task %s: queries longer than encoder.max_length=%d share a median %.0f %% of the tokens that "
                        "are kept, so they look alike to the encoder; set encoder.truncation_side=%s",
                        task, encoder.max_length, 100 * share, other)

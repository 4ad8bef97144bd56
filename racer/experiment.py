"""Variants of router and sets, judged on many calibration/test splits of the same rows: every number with its interval.

A router sees train and validation rows only, so its rows of calibration and test may be dealt anew as often as one
likes; each router is trained once.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from racer import data, intervals
from racer.choice import set_rule
from racer.config import Config, ExperimentConfig
from racer.errors import ConfigError
from racer.findings import Finding
from racer.repeated import MEASURES, over_splits, parts
from racer.router import store
from racer.scores import Scores
from racer.table import OutcomeTable

NEVER_OTHER = ("data", "cache_dir", "run_dir", "tracking")  # what variants share


def run(config: ExperimentConfig) -> list[Finding]:
    """Return all findings: by ground, variant, calibration size, method, alpha. Trains what was not trained before."""
    table = data.load(config.data)
    own = config.variants or {"as set": {}}
    variants = {name: variant_of(config, name, settings) for name, settings in own.items()}
    return [finding for name, variant in tqdm(variants.items(), desc="variants", unit="variant")
            for finding in _judged(config, name, variant, scores_of(variant, table))]


def variant_of(config: ExperimentConfig, name: str, settings: dict) -> Config:
    """Return the settings of the experiment with those of one variant; raise `ConfigError` if they do not fit."""
    if bad := [key for key in NEVER_OTHER if key in settings]:
        raise ConfigError(f"variant {name!r} sets {', '.join(bad)}, which all variants share: set it for all")
    base = {key: getattr(config, key) for key in Config.__dataclass_fields__}
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config(**base)), settings))
    except OmegaConfBaseException as error:
        raise ConfigError(f"variant {name!r}: {str(error).splitlines()[0]} (settings: racer/config.py)") from None


def scores_of(config: Config, table: OutcomeTable) -> Scores:
    """Return what the router of these settings says of every row; trained now, or taken from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        return store.obtain(config, table, Path(folder), lambda numbers: None)


def _judged(config: ExperimentConfig, name: str, variant: Config, scores: Scores) -> list[Finding]:
    if variant.sets.choose != "no":
        raise ConfigError(f"variant {name!r} has sets.choose={variant.sets.choose}, whose sets depend on alpha: an "
                          "experiment judges one family at several, set sets.choose=no")
    scores, rule = set_rule(scores, variant.sets, variant.risk)
    pool = scores.take(np.isin(scores.split, ("calibration", "test")))
    grounds = {str(task): pool.take(pool.task == task) for task in np.unique(pool.task)} if config.by_task else {
        scores.table: pool}
    return [finding for ground, rows in grounds.items() for size in config.splits.calibration
            for finding in _on(config, ground, name, rows, rule.of_scores(rows), size, variant)]


def _on(config: ExperimentConfig, ground: str, name: str, rows: Scores, s: np.ndarray, size: float,
        variant: Config) -> list[Finding]:
    """Return the findings on one ground (n rows, s (n, M+1)) with one calibration size."""
    n, splits = len(rows.ids), config.splits
    calibrate, judge = int(size if size >= 1 else size * n), math.floor(splits.test * n)
    first, second = parts(n, calibrate, judge, splits.repeats, np.random.default_rng(splits.seed))
    share = judge / n  # the chance that a row judged in one split is judged in another
    right = rows.outcomes[np.arange(n), rows.probabilities[:, :-1].argmax(axis=1)]
    top1 = intervals.over_splits(np.array([right[r].mean() for r in second]), share)
    findings = []
    for method in config.methods:
        found = over_splits(s, rows, first, second, tuple(config.alphas), variant.risk.loss, method, variant.risk.delta)
        for a, alpha in enumerate(config.alphas):
            numbers = {m: intervals.over_splits(found[m][:, a], share) for m in MEASURES}
            above = float(np.mean(found["risk"][:, a] > alpha)) if numbers["risk"] else None
            findings.append(Finding(ground, name, method, calibrate, judge, alpha, numbers | {"top1_accuracy": top1},
                                    above))
    return findings

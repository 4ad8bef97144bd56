"""The later stages of a run, from `scores.npz` on: calibrate, evaluate. Seconds, without torch."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from omegaconf import OmegaConf

from racer import artifact as artifact_file
from racer import data, recorded
from racer import scores as scores_file
from racer.answering import nobody, record, write_answers
from racer.artifact import Artifact
from racer.certificate import Certificate
from racer.certify import Design, Trial, certify
from racer.choice import set_rule
from racer.config import CertifyConfig, DataConfig, RiskConfig, SetsConfig
from racer.errors import ConfigError, TableError
from racer.evaluate import report
from racer.figures import draw_all
from racer.files import write_json
from racer.fingerprints import of_router, of_scores
from racer.methods import calibrate, deployed
from racer.problem import reference_of
from racer.promises import check as check_promises
from racer.recorded import AnswerLog, Recorded
from racer.risk import Risk
from racer.rule import SetRule
from racer.scores import Scores
from racer.tracking import append, flatten


@dataclass(frozen=True)
class Evaluation:
    """What the evaluation of a run wrote."""

    report: dict
    figures: list[Path]


def calibrate_scores(scores: Scores, rule: SetRule, risk: RiskConfig) -> Artifact:
    """Return the calibration of the sets of `scores`, made as `rule` says, on their calibration split.

    Raises `Infeasible` if the split is too small for the risk level.
    """
    promise = Risk.of(asdict(risk))
    calibration = calibrate(scores, rule, promise)
    return Artifact(deployed(rule, calibration), promise, calibration, scores.models, of_scores(scores),
                    reference_of(scores))


def calibrate_run(run: Path, sets: SetsConfig, risk: RiskConfig, foreign: Path | None = None) -> Artifact:
    """Calibrate `run/scores.npz`, or the `foreign` scores of anyone's router, and write `run/calibration.json`.

    The joint and the null column of `run/scores.npz` are made as `sets.joint` and `sets.null` say. Settings that the
    scores cannot meet are refused before anything is touched. What an earlier calibration left is removed before this
    one begins, so that an infeasible level leaves nothing stale.
    """
    if foreign and (run / "router").exists():
        raise ConfigError(f"{run} holds a router of its own, whose scores would be lost: give another run_dir")
    scores, rule = set_rule(scores_file.load(foreign or run / "scores.npz"), sets, risk)
    run.mkdir(parents=True, exist_ok=True)
    clear(run)
    scores.save(run / "scores.npz")
    artifact = calibrate_scores(scores, rule, risk)
    artifact = replace(artifact, fingerprint=artifact.fingerprint | of_router(run / "router"))
    artifact.save(run / "calibration.json")
    return artifact


def evaluate_run(run: Path) -> Evaluation:
    """Judge the sets of a calibrated run on its test split; write `report.json` and `figures/`."""
    scores, artifact = scores_file.load(run / "scores.npz"), artifact_file.load(run / "calibration.json")
    artifact.check(of_scores(scores), scores.models)
    if scores.null != artifact.rule.null:
        raise ConfigError(f"{run / 'scores.npz'} has the null {scores.null}, calibration.json is for "
                          f"{artifact.rule.null}: run `python scripts/calibrate.py run={run}` again")
    if not (scores.split == "test").any():
        raise TableError(f"{run / 'scores.npz'} has no row of split test: nothing to report on; add test rows")
    result = report(scores, artifact)
    write_json(run / "report.json", result)
    append(run, {"report": flatten(result)})
    return Evaluation(result, draw_all(scores, artifact, result, run / "figures"))


def certify_run(run: Path, sets: SetsConfig, risk: RiskConfig, settings: CertifyConfig) -> dict:
    """Certify the answers of a run; write `run/certificate.json` and `run/answers.parquet`; return the former.

    `sets` and `risk` are the run's own. The answers are those of `run/recorded.parquet`, or of the table that
    `settings.answers` names, which are then kept there. What an earlier certificate left is removed before the test.
    """
    scores, rule = set_rule(scores_file.load(run / "scores.npz"), sets, risk)
    log = _answers(run, scores, settings.answers)
    rows, promises, delta = Recorded.of(scores, log.answers), settings.promises.asked(), settings.risk.delta
    check_promises(promises, rows)
    design = Design.of(rows, rule, settings.grid())
    clear_answers(run)
    trial, test = Trial(design, rows.of_split("calibration")), Trial(design, rows.of_split("test"))
    verdict = certify(design, trial, promises, delta)
    k = verdict.chosen
    policy = None if k is None else design.policies[k]
    certificate = Certificate(policy, None if policy is None else design.aggregators[policy.aggregator], promises,
                              delta, scores.models, log.tasks(), of_scores(scores) | of_router(run / "router"),
                              {name: way for name, way in zip(log.models, log.ways, strict=False) if way})
    played, order = (nobody(test.rows), None) if k is None else (test.play(k), test.ladder(k).order)
    write_answers(run / "answers.parquet", played, order, test.rows)
    certificate.save(run / "certificate.json", **record(design, trial, verdict, test, delta))
    return json.loads((run / "certificate.json").read_text(encoding="utf-8"))


def _answers(run: Path, scores: Scores, table: str | None) -> AnswerLog:
    """Return the recorded answers in the order of the scores; of a `table`, if one is named, kept in the run then."""
    if table is None:
        return recorded.load(run / recorded.FILE).aligned(scores.ids, scores.models)
    log = AnswerLog.of_table(data.read(DataConfig(path=table)))
    if log is None:
        raise TableError(f"answers={table}: {recorded.ABSENT}")
    log = log.aligned(scores.ids, scores.models)
    log.save(run / recorded.FILE)
    return log


def clear_answers(run: Path) -> None:
    """Remove the certificate and its answers: what another router makes untrue, or another certificate replaces."""
    for name in ("certificate.json", "answers.parquet"):
        (run / name).unlink(missing_ok=True)


def clear(run: Path) -> None:
    """Remove calibration, report and figures: what a new calibration makes untrue."""
    for path in stale(run):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def stale(run: Path) -> list[Path]:
    """Return what `clear` would remove."""
    return [path for name in ("calibration.json", "report.json", "figures") if (path := run / name).exists()]


def save_config(run: Path, **sections) -> None:
    """Write `run/config.yaml`: the settings that were used, by name."""
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(sections)), encoding="utf-8")

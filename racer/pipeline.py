"""The main job: table, router, scores, calibration, report."""

import shutil
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from racer import data, foreign, recorded, show, stages
from racer.config import Config, SetsConfig
from racer.errors import ConfigError
from racer.methods import check_feasible
from racer.recorded import AnswerLog
from racer.risk import Risk
from racer.router import store
from racer.router.kinds import HEADS, head_of
from racer.scores import Scores
from racer.stages import Evaluation
from racer.table import OutcomeTable
from racer.tracking import Tracker


def run(config: Config) -> Evaluation | None:
    """Do the whole main job in `config.run_dir`; return what the evaluation found, None in a helper process.

    A null or a joint that the router does not learn, a file that cannot be read and an infeasible risk level are found
    before anything is trained.
    """
    run_dir = Path(config.run_dir)
    from_file = config.router.name == "file"
    if not from_file:
        kind = head_of(config)
        check_learnable(config.sets, kind.name, kind.learns_null, kind.has_joint)
    main = PartialState(cpu=config.train.cpu).is_main_process
    table = data.load(config.data)
    scores = _from_file(config, table) if from_file else None
    if main:
        show.table(table, config.data.right_at)
        run_dir.mkdir(parents=True, exist_ok=True)
        stages.clear(run_dir)
        stages.clear_answers(run_dir)
    check_feasible(len(table.rows("calibration")), Risk.of(asdict(config.risk)))
    with Tracker(run_dir, config.tracking, asdict(config), active=main) as tracker:
        if not from_file:
            scores = store.obtain(config, table, run_dir, tracker.log)
        if not main:
            return None
        if from_file:
            shutil.rmtree(run_dir / "router", ignore_errors=True)  # of an earlier job: these are not its scores
        return conclude(config, table, scores, tracker)


def conclude(config: Config, table: OutcomeTable, scores: Scores, tracker: Tracker) -> Evaluation:
    """Do what follows once `config.run_dir` has its router: scores, answers, settings, calibration, report, figures."""
    run_dir = Path(config.run_dir)
    scores.save(run_dir / "scores.npz")
    _record_answers(table, run_dir / recorded.FILE)
    stages.save_config(run_dir, **asdict(config))
    stages.calibrate_run(run_dir, config.sets, config.risk)
    evaluation = stages.evaluate_run(run_dir)
    tracker.summarise(evaluation.report, evaluation.figures)
    return evaluation


def _from_file(config: Config, table: OutcomeTable) -> Scores:
    scores = foreign.scores_of(config.router.path, table, config.data.right_at)
    check_learnable(config.sets, "file", scores.learned_null is not None, has_joint=False)
    return scores


def _record_answers(table: OutcomeTable, path: Path) -> None:
    """Keep the table's answers beside the scores; where it has none, those of an earlier run are removed."""
    log = AnswerLog.of_table(table)
    if log is None:
        path.unlink(missing_ok=True)
    else:
        log.save(path)


def check_learnable(sets: SetsConfig, router: str, learns_null: bool, has_joint: bool) -> None:
    """Raise `ConfigError` if the sets need something that the router does not learn."""
    needs_joint = sets.joint == "own" or (sets.null == "joint" and sets.joint == "none")
    for lacks, able in ((sets.null == "learned" and not learns_null, lambda head: head.learns_null),
                        (needs_joint and not has_joint, lambda head: head.has_joint)):
        if lacks:
            names = ", ".join(name for name, head in HEADS.items() if able(head))
            raise ConfigError(f"sets.null={sets.null} with sets.joint={sets.joint} needs one of {names}, the router "
                              f"here is {router}: take one of these, or set sets.null=one_minus_max, product or "
                              "free, and sets.joint=auto")

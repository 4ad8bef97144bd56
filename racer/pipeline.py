"""The main job: table, router, scores, calibration, report."""

from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from racer import data, foreign, show, stages
from racer.config import Config
from racer.conformal import check_feasible
from racer.errors import ConfigError
from racer.router import store
from racer.router.kinds import HEADS, head_of
from racer.scores import Scores
from racer.stages import Evaluation
from racer.table import OutcomeTable
from racer.tracking import Tracker


def run(config: Config) -> Evaluation | None:
    """Do the whole main job in `config.run_dir`; return what the evaluation found, None in a helper process.

    An infeasible risk level, or a null that the head does not learn, is found before anything is trained.
    """
    run_dir = Path(config.run_dir)
    if config.router.name != "file":
        _check_learnable(config)
    main = PartialState(cpu=config.train.cpu).is_main_process
    table = data.load(config.data)
    if main:
        show.table(table, config.data.right_at)
        run_dir.mkdir(parents=True, exist_ok=True)
        stages.clear(run_dir)
    check_feasible(len(table.rows("calibration")), config.risk.alpha, config.risk.method, config.risk.delta)
    with Tracker(run_dir, config.tracking, asdict(config), active=main) as tracker:
        scores = _scores(config, table, run_dir, tracker)
        if not main:
            return None
        scores.save(run_dir / "scores.npz")
        stages.save_config(run_dir, **asdict(config))
        stages.calibrate_run(run_dir, config.sets, config.risk)
        evaluation = stages.evaluate_run(run_dir)
        tracker.summarise(evaluation.report, evaluation.figures)
    return evaluation


def _scores(config: Config, table: OutcomeTable, run_dir: Path, tracker: Tracker) -> Scores:
    if config.router.name == "file":
        return foreign.scores_of(config.router.path, table, config.data.right_at)
    return store.obtain(config, table, run_dir, tracker.log)


def _check_learnable(config: Config) -> None:
    """Raise `ConfigError` if the sets need something that the router does not learn."""
    kind, sets = head_of(config), config.sets
    needs_joint = sets.joint == "own" or (sets.null == "joint" and sets.joint == "none")
    for needed, able in ((sets.null == "learned", lambda head: head.learns_null),
                         (needs_joint, lambda head: head.has_joint)):
        if needed and not able(kind):
            names = ", ".join(name for name, head in HEADS.items() if able(head))
            raise ConfigError(f"sets.null={sets.null} with sets.joint={sets.joint} needs one of {names}, the router "
                              f"here is {kind.name}: take one of these, or set sets.null=one_minus_max, product or "
                              "free, and sets.joint=auto")

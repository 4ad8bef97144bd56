"""The main job: table, router, scores, calibration, report."""

from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from racer import data, show, stages
from racer.config import Config
from racer.conformal import check_feasible
from racer.errors import ConfigError
from racer.router import store
from racer.stages import Evaluation
from racer.tracking import Tracker

NULL_OF_HEAD = {"learned": "multilabel", "joint": "latent"}  # nulls that only one head learns


def run(config: Config) -> Evaluation | None:
    """Do the whole main job in `config.run_dir`; return what the evaluation found, None in a helper process.

    An infeasible risk level, or a null that the head does not learn, is found before anything is trained.
    """
    run_dir = Path(config.run_dir)
    needed = NULL_OF_HEAD.get(config.sets.null, config.head.name)
    if config.head.name != needed:
        raise ConfigError(f"sets.null={config.sets.null} needs head={needed}, got head={config.head.name}: "
                          "set sets.null=one_minus_max, product or free")
    main = PartialState(cpu=config.train.cpu).is_main_process
    table = data.load(config.data)
    if main:
        show.table(table, config.data.right_at)
        run_dir.mkdir(parents=True, exist_ok=True)
        stages.clear(run_dir)
    check_feasible(len(table.rows("calibration")), config.risk.alpha, config.risk.method, config.risk.delta)
    with Tracker(run_dir, config.tracking, asdict(config), active=main) as tracker:
        scores = store.obtain(config, table, run_dir, tracker.log)
        if not main:
            return None
        scores.with_null(config.sets.null).save(run_dir / "scores.npz")
        stages.save_config(run_dir, **asdict(config))
        stages.calibrate_run(run_dir, config.sets, config.risk)
        evaluation = stages.evaluate_run(run_dir)
        tracker.summarise(evaluation.report, evaluation.figures)
    return evaluation

"""Where a run's numbers go: `metrics.jsonl` first, then wandb as a mirror, which may be absent."""

import json
import logging
from pathlib import Path

from racer.config import TrackingConfig

log = logging.getLogger(__name__)


class Tracker:
    """Writes numbers of one run, as a context manager; only the main process of a training makes one that writes.

    wandb works offline without an account or a network; its files lie in `run_dir/wandb`, and
    `wandb sync run_dir/wandb/offline-run-*` sends them later.
    """

    def __init__(self, run_dir: Path, settings: TrackingConfig, config: dict, active: bool = True):
        self.run_dir, self.settings, self.config, self.active = run_dir, settings, config, active
        self.run = None

    def __enter__(self) -> "Tracker":
        if self.active:
            (self.run_dir / "metrics.jsonl").write_text("", encoding="utf-8")
            if self.settings.wandb != "off":
                self._open()
        return self

    def __exit__(self, error_type, *_) -> None:
        if self.run is not None:  # always closed, or the next job of a sweep would log into it
            self.run.finish(exit_code=0 if error_type is None else 1)

    def log(self, numbers: dict) -> None:
        """Append one line of numbers; `step` is the optimizer step, on which wandb draws the curves."""
        if not self.active:
            return
        append(self.run_dir, numbers)
        if self.run is not None:
            self.run.log({f"train/{k}": v for k, v in numbers.items()})

    def summarise(self, report: dict, figures: list[Path]) -> None:
        """Mirror the report's numbers and the figures."""
        if self.run is None:
            return
        import wandb

        self.run.summary.update({f"report/{k}": v for k, v in flatten(report).items()})
        self.run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
        if self.settings.checkpoint and (self.run_dir / "router").is_dir():  # scores from a file have no router
            checkpoint = wandb.Artifact(f"router-{report['fingerprint']['router']}", type="router",
                                        metadata=report["fingerprint"])
            checkpoint.add_dir(str(self.run_dir / "router"), name="router", policy="immutable")  # no second copy
            checkpoint.add_file(str(self.run_dir / "calibration.json"))
            self.run.log_artifact(checkpoint)

    def _open(self) -> None:
        """Start the wandb run; a wandb that cannot start costs the mirror, never the training."""
        try:
            import wandb

            self.run = wandb.init(
                project=self.settings.project, group=self.settings.group, name=self.settings.name,
                id=self.settings.id, dir=self.run_dir,
                config=self.config, mode=self.settings.wandb, reinit="finish_previous",
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True))
            self.run.define_metric("train/*", step_metric="train/step")
        except Exception as error:  # whatever it is: no account, no disk, a broken setting in the environment
            log.warning("wandb could not be started, the numbers are in metrics.jsonl only: %s", error)


def append(run_dir: Path, numbers: dict) -> None:
    """Append one line to `metrics.jsonl`."""
    with open(run_dir / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(numbers) + "\n")


def flatten(tree: dict, prefix: str = "") -> dict:
    """Return the leaves of nested dictionaries by their path: {"risk/miss/value": .1}; lists and None are left out."""
    leaves = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flatten(value, f"{prefix}{key}/")
        elif value is not None and not isinstance(value, list):
            leaves[f"{prefix}{key}"] = value
    return leaves

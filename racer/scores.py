"""What is on file between a router and everything after it: `scores.npz`.

One row per query of the table, all splits. Torch ends here: calibration, evaluation and anyone's
own router meet in this file, which loads without pickle.
"""

import json
import os
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from racer.coupling import Coupling
from racer.errors import TableError
from racer.estimate import Estimate, Joint
from racer.files import whole
from racer.sets import NULLS
from racer.table import OOD, SPLITS, OutcomeTable

JOINT = ("logits", "loadings", "nodes", "weights")
REQUIRED = ("ids", "split", "task", "models", "probabilities", "outcomes")


@dataclass(frozen=True)
class Scores:
    """A router's probabilities beside the recorded outcomes.

    `probabilities` (n, M+1) in [0, 1], the null last, made as `null` says (`racer.sets.NULLS`);
    `learned_null` (n,) keeps the router's own null, where it has one, so that another choice can
    be undone; `joint` is its joint, where it has one. `own` (n, M) keeps the router's own probabilities where
    the joint, and with it the models' columns, was fitted to them after the fact (`racer.coupling`). `outcomes` (n, M)
    are binarised. `cost` (n, M) in USD, only if every cell is known; `expected_cost` (n, M) in USD is what the router
    says that each call will cost, where it learned that. `graded` (n, M) in [0, 1] are outcomes before they
    were binarised, where some task has such. `group` (n,) is any column known before a model is asked, `weight` (n,)
    >= 0 the density of new traffic over that of the calibration queries. `fingerprint` names the router and the table
    the file came from.
    """

    ids: np.ndarray  # (n,) str
    split: np.ndarray  # (n,) str
    task: np.ndarray  # (n,) str
    models: tuple[str, ...]
    probabilities: np.ndarray  # (n, M+1) float64
    outcomes: np.ndarray  # (n, M) bool
    null: str = "learned"
    learned_null: np.ndarray | None = None  # (n,) float64
    joint: Joint | None = None
    own: np.ndarray | None = None  # (n, M) float64
    cost: np.ndarray | None = None  # (n, M) float64
    expected_cost: np.ndarray | None = None  # (n, M) float64
    graded: np.ndarray | None = None  # (n, M) float64
    group: np.ndarray | None = None  # (n,) str
    weight: np.ndarray | None = None  # (n,) float64
    table: str = "unnamed"
    fingerprint: dict = field(default_factory=dict)

    @classmethod
    def of_table(cls, table: OutcomeTable, right_at: float, estimate: Estimate, fingerprint: dict) -> "Scores":
        """Return what a router says of every row of a table; the null column is that of `free`."""
        return cls(ids=table.ids, split=table.split, task=table.task, models=table.models, null="free",
                   probabilities=estimate.probabilities("free"), learned_null=estimate.learned_null,
                   joint=estimate.joint, outcomes=table.outcomes(right_at), cost=table.complete_cost(),
                   expected_cost=estimate.cost, graded=table.graded(right_at), table=table.title,
                   fingerprint=fingerprint)

    def take(self, rows: np.ndarray) -> "Scores":
        """Return these rows (numbers or a mask), in their order."""
        columns = ("ids", "split", "task", "probabilities", "outcomes", "learned_null", "own", "cost",
                   "expected_cost", "graded", "group", "weight")
        joint = None if self.joint is None else self.joint.take(rows)
        return replace(self, joint=joint, **{c: v[rows] for c in columns if (v := getattr(self, c)) is not None})

    def of_split(self, split: str) -> "Scores":
        return self.take(self.split == split)

    def with_null(self, null: str) -> "Scores":
        """Return the same scores with the null column made another way."""
        return self._with(Estimate(self.probabilities[:, :-1], self.learned_null, self.joint), null)

    def coupled(self, coupling: Coupling) -> "Scores":
        """Return the same scores with a joint fitted to the router's own probabilities, and the null of `free`."""
        own = self.uncoupled()
        estimate = coupling.estimate(Estimate(own.probabilities[:, :-1], self.learned_null))
        return replace(own._with(estimate, "free"), own=own.probabilities[:, :-1])

    def uncoupled(self) -> "Scores":
        """Return the router's own scores, without a joint that was fitted after the fact."""
        if self.own is None:
            return self
        return replace(self._with(Estimate(self.own, self.learned_null), "free"), own=None)

    def _with(self, estimate: Estimate, null: str) -> "Scores":
        return replace(self, probabilities=estimate.probabilities(null), null=null, joint=estimate.joint)

    def prices(self) -> tuple[float, ...] | None:
        """Return each model's mean cost per call on the train rows (M,), USD; None where that is unknown."""
        train = self.of_split("train")
        return None if train.cost is None or not len(train.ids) else tuple(train.cost.mean(axis=0).tolist())

    def save(self, path: str | os.PathLike) -> None:
        """Write the file whole or not at all."""
        arrays = dict(ids=self.ids.astype(str), split=self.split.astype(str), task=self.task.astype(str),
                      models=np.array(self.models), probabilities=self.probabilities, outcomes=self.outcomes,
                      null=np.array(self.null), table=np.array(self.table),
                      fingerprint=np.array(json.dumps(self.fingerprint)))
        optional = dict(learned_null=self.learned_null, own=self.own, cost=self.cost, graded=self.graded,
                        expected_cost=self.expected_cost, weight=self.weight,
                        group=None if self.group is None else self.group.astype(str))
        if self.joint is not None:
            optional |= {name: getattr(self.joint, name) for name in JOINT}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        with whole(path) as partial:
            np.savez(partial, **arrays)


def load(path: str | os.PathLike) -> Scores:
    """Return the scores in a file, ours or anyone's, after checking them; raise `TableError` if they are wrong.

    Needed: `ids, split, task, models, probabilities, outcomes`. Without the rest, the last column is taken
    for the router's own null, costs are unknown and the origin is unnamed.
    """
    arrays = arrays_of(path, "run `python scripts/train.py` first, or give scores=FILE.npz")
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise TableError(f"{path} lacks {', '.join(missing)}: it has {', '.join(sorted(arrays))}; needed are "
                         f"{', '.join(REQUIRED)}")
    foreign = "null" not in arrays
    if arrays["models"].ndim != 1 or arrays["models"].dtype.kind != "U":
        raise TableError(f"{path}: models has shape {arrays['models'].shape} and dtype {arrays['models'].dtype}, "
                         "expected texts (M,): write them with .astype(str)")
    probabilities = numbers_of(arrays, "probabilities", path)
    scores = Scores(
        ids=arrays["ids"], task=arrays["task"],
        split=np.where(arrays["split"] == "calib", "calibration", arrays["split"]),
        models=tuple(str(name) for name in arrays["models"]), probabilities=probabilities,
        outcomes=np.asarray(arrays["outcomes"]), null=str(arrays.get("null", "learned")),
        learned_null=probabilities[..., -1] if foreign else numbers_of(arrays, "learned_null", path),
        own=numbers_of(arrays, "own", path), cost=numbers_of(arrays, "cost", path),
        expected_cost=numbers_of(arrays, "expected_cost", path), graded=numbers_of(arrays, "graded", path),
        weight=numbers_of(arrays, "weight", path),
        group=arrays.get("group"), table=str(arrays.get("table", Path(path).name)),
        fingerprint=_origin(arrays.get("fingerprint")))
    _check(scores, path)
    if scores.null not in NULLS:
        raise TableError(f"{path}: null is {scores.null!r}, expected one of {', '.join(NULLS)}")
    joint = _joint(arrays, path)
    if scores.own is not None and joint is None:
        raise TableError(f"{path} has the router's own probabilities (own), but not the joint that was fitted to them: "
                         f"give all of {', '.join(JOINT)}, or leave own out")
    return replace(scores, outcomes=scores.outcomes.astype(bool), joint=joint)


def arrays_of(path: str | os.PathLike, remedy: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name; raise `TableError` if it is none, or holds pickles.

    `remedy` says what to do where there is no file.
    """
    if not Path(path).is_file():
        raise TableError(f"no scores at {path}: {remedy}")
    try:
        with zipfile.ZipFile(path):  # what an .npz is; np.load also opens .npy files and pickles
            pass
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (zipfile.BadZipFile, ValueError) as error:
        raise TableError(f"{path} is no .npz file of plain arrays ({error}): write text columns with .astype(str), "
                         "they load without pickle") from None


def numbers_of(arrays: dict[str, np.ndarray], name: str, path) -> np.ndarray | None:
    """Return an array of real numbers as float64, None if there is none of that name; else raise `TableError`."""
    if name not in arrays:
        return None
    if arrays[name].dtype.kind not in "fiub":
        raise TableError(f"{path}: {name} has dtype {arrays[name].dtype}, expected real numbers")
    return arrays[name].astype(np.float64)


def _joint(arrays: dict[str, np.ndarray], path) -> Joint | None:
    if not set(JOINT) & set(arrays):
        return None
    if missing := [name for name in JOINT if name not in arrays]:
        raise TableError(f"{path} has only a part of a joint: it lacks {', '.join(missing)}; give all of "
                         f"{', '.join(JOINT)}, or none")
    joint = Joint(*(numbers_of(arrays, name, path) for name in JOINT))
    expected = (arrays["probabilities"].shape[0], arrays["probabilities"].shape[1] - 1)
    for name in ("logits", "loadings"):
        if getattr(joint, name).shape != expected or not np.isfinite(getattr(joint, name)).all():
            raise TableError(f"{path}: {name} has shape {getattr(joint, name).shape}, expected finite numbers (n, M) = "
                             f"{expected}")
    if joint.nodes.shape != joint.weights.shape or not np.isclose(joint.weights.sum(), 1) or (joint.weights < 0).any():
        raise TableError(f"{path}: nodes and weights must be two arrays (Q,), the weights >= 0 and summing to 1")
    return joint


def _origin(fingerprint: np.ndarray | None) -> dict:
    text = "" if fingerprint is None else str(fingerprint)
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        parsed = text
    return parsed if isinstance(parsed, dict) else {"router": text or "unnamed"}


def _check(scores: Scores, path) -> None:
    """Raise `TableError` at the first thing in which the arrays are not what they must be."""
    n, m = len(scores.ids), len(scores.models)
    for name in ("ids", "split", "task", "group"):
        if (column := getattr(scores, name)) is not None and column.dtype.kind != "U":
            raise TableError(f"{path}: {name} has dtype {getattr(scores, name).dtype}, expected text: write it with "
                             ".astype(str)")
    if m < 2:
        raise TableError(f"{path}: models has {m} name, expected at least two: with one there is nothing to route")
    shapes = dict(ids=(n,), split=(n,), task=(n,), probabilities=(n, m + 1), outcomes=(n, m), learned_null=(n,),
                  own=(n, m), cost=(n, m), expected_cost=(n, m), graded=(n, m), group=(n,), weight=(n,))
    for name, shape in shapes.items():
        array = getattr(scores, name)
        if array is not None and array.shape != shape:
            raise TableError(f"{path}: {name} has shape {array.shape}, expected {shape} for {n} queries and {m} models"
                             + (" (M + 1 columns, the null last)" if name == "probabilities" else ""))
    for name, most in (("probabilities", 1), ("learned_null", 1), ("own", 1), ("graded", 1), ("cost", np.inf),
                       ("expected_cost", np.inf), ("weight", np.inf)):
        check_range(getattr(scores, name), most, name, scores.ids, path)
    if not np.isin(scores.outcomes, (0, 1)).all():
        raise TableError(f"{path}: outcomes hold values other than 0 and 1: binarise them first (1 where right)")
    _check_names(scores, path)


def check_range(array: np.ndarray | None, most: float, name: str, ids: np.ndarray, path) -> None:
    """Raise `TableError` at the first number of `array` (n, ...) not in [0, `most`] or infinite, naming its query."""
    good = array is None or (array >= 0) & (array <= most) & (array < np.inf)  # NaN is bad as well
    bad = np.argwhere(~np.asarray(good))
    if len(bad):
        at = tuple(bad[0].tolist())
        expected = "in [0, 1]" if most == 1 else f">= 0 in every cell: leave {name} out if some are unknown"
        raise TableError(f"{path}: {name}{list(at)} of query {ids[at[0]]} is {array[at]}, expected a number {expected}")


def _check_names(scores: Scores, path) -> None:
    unknown = sorted(set(scores.split.tolist()) - {*SPLITS, OOD})
    if unknown:
        raise TableError(f"{path}: split holds {', '.join(map(repr, unknown))}, expected {', '.join(SPLITS)} or {OOD}")
    for name, values in (("ids", scores.ids), ("models", scores.models)):
        unique, counts = np.unique(values, return_counts=True)
        if (counts > 1).any():
            raise TableError(f"{path}: {name} holds {unique[counts > 1].tolist()[0]!r} more than once: each must occur "
                             "once, or a query would count twice in calibration")

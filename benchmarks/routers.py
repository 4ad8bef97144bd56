"""A fair field: every base router, every family of sets, four risk levels, many calibration/test splits.

    RACER_DATA=FOLDER python benchmarks/routers.py

Trains each router once (the first run embeds every query: a quarter of an hour on two cores), then calibrates and
judges on `REPEATS` random halves of the calibration and test rows. Writes `docs/results.md`, `docs/results.csv` with
every number, and `docs/figures/routers.png`.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from document import markdown, shown
from matplotlib.figure import Figure
from scipy import special
from tqdm import tqdm

from racer import baselines, cli, config, intervals, pipeline
from racer import scores as scores_file
from racer.choice import set_rule
from racer.config import RiskConfig, SetsConfig
from racer.evaluate import reliability
from racer.figures import BLUE, GREEN, GREY, ORANGE, STYLE
from racer.repeated import MEASURES, halves, over_splits
from racer.scores import Scores
from racer.table import OOD

ROOT = Path(__file__).parents[1]
ALPHAS, REPEATS = (0.02, 0.05, 0.1, 0.2), 20
TABLES = {"routerdc": [], "routerbench": ["encoder.truncation_side=left"], "mmlupro": []}
PLAIN = ["head.neighbours=false", "head.members=1"]
ROUTERS = {"latent": ["head=latent"], "multilabel": ["head=multilabel"], "softmax": ["head=softmax"],
           "latent, plain": ["head=latent", *PLAIN], "softmax, plain": ["head=softmax", *PLAIN],
           **{name: [f"router={name}"] for name in ("linear", "mlp", "mf", "knn", "clusters", "routerdc")}}
OURS = {"coverage, size": SetsConfig("coverage", "free", cost_power=0.0),
        "coverage, cost^.5": SetsConfig("coverage", "free", cost_power=0.5),
        "coverage, cost^.75": SetsConfig("coverage", "free", cost_power=0.75),
        "coverage, cost": SetsConfig("coverage", "free", cost_power=1.0),
        "coverage, mean cost^.75": SetsConfig("coverage", "free", cost_power=0.75, costs="mean"),
        "chosen for size": SetsConfig(choose="size"), "chosen for cost": SetsConfig(choose="cost")}
WITHOUT_COSTS = ("coverage, size", "chosen for size")  # on a table without costs the others say the same
MORE = {"latent": {"coverage, null joint": SetsConfig("coverage", "joint"), "gap, null free": SetsConfig("gap", "free"),
                   "probability, null joint": SetsConfig("probability", "joint", joint="own")},
        "softmax": {"RACER-P, 1-max": SetsConfig("probability", "one_minus_max"),
                    "RACER-G, 1-max": SetsConfig("gap", "one_minus_max")},
        "multilabel": {"RACER-P, learned": SetsConfig("probability", "learned"),
                       "RACER-G, learned": SetsConfig("gap", "learned"),
                       "RACER-P, 1-max": SetsConfig("probability", "one_minus_max"),
                       "RACER-G, 1-max": SetsConfig("gap", "one_minus_max")}}
MORE["softmax, plain"] = MORE["softmax"]
OPPONENTS = [(router, sets) for router in ("softmax", "multilabel") for sets in MORE[router]]
AIMS = {"size": ("chosen for size", "coverage, size"),
        "cost": ("chosen for cost", "coverage, cost^.75", "coverage, mean cost^.75")}
Cells = dict[tuple[str, str, str], dict[str, np.ndarray]]  # ground, router, sets -> measure -> (R, A)


@dataclass(frozen=True)
class Ground:
    """Where sets are judged: these rows, calibrated on a half of them, or (`ood`) on a half of the others."""

    name: str
    rows: np.ndarray  # (n,) bool, of the table
    calibrates: np.ndarray | None = None  # (n,) bool; None: `rows`


def main() -> None:
    cells, quality, context = {}, {}, {}
    for table, extra in TABLES.items():
        for router, overrides in tqdm(ROUTERS.items(), desc=table, unit="router"):
            scores = trained(table, router, [*extra, *overrides])
            quality[table, router] = how_good(scores)
            if router == "latent":
                context |= {ground.name: landmarks(scores, ground) for ground in grounds(table, scores)}
            for sets, settings in (OURS | MORE.get(router, {})).items():
                if scores.cost is not None or sets in WITHOUT_COSTS or sets in MORE.get(router, {}):
                    parts = distances(scores, settings)
                    for ground in grounds(table, scores):
                        cells[ground.name, router, sets] = judged(scores, parts, ground)
    write_csv(cells)
    draw(cells)
    (ROOT / "docs" / "results.md").write_text("\n".join(document(cells, quality, context)))


def trained(table: str, router: str, overrides: list[str]) -> Scores:
    """Return the router's own scores of the whole table, from a run of the main job."""
    run = ROOT / "outputs" / "routers" / f"{table}-{router}"
    settings = config.composed("train", [f"data={table}", "tracking.wandb=off", *overrides])
    pipeline.run(replace(settings, run_dir=str(run)))
    return scores_file.load(run / "scores.npz").uncoupled()


def grounds(table: str, scores: Scores) -> list[Ground]:
    """Return the whole table, RouterDC's four test sets one by one, and its tasks that training never saw."""
    pool = np.isin(scores.split, ("calibration", "test"))
    found = [Ground(table, pool)]
    if table == "routerdc":
        found += [Ground(f"{table}: {task}", pool & (scores.task == task)) for task in np.unique(scores.task[pool])]
        found.append(Ground(f"{table}: {OOD}, no promise", scores.split == OOD, pool))
    return found


def distances(scores: Scores, sets: SetsConfig) -> list[tuple[tuple[float, ...], np.ndarray]]:
    """Return s (n, M+1) of the sets, with the alphas that it is for: one for all, unless alpha had a say in it."""
    parts = [ALPHAS] if sets.choose == "no" else [(alpha,) for alpha in ALPHAS]
    ready = [(alphas, *set_rule(scores, sets, RiskConfig(alpha=alphas[0]))) for alphas in parts]
    return [(alphas, rule.of_scores(rows)) for alphas, rows, rule in ready]


def judged(scores: Scores, parts: list[tuple[tuple[float, ...], np.ndarray]], ground: Ground) -> dict[str, np.ndarray]:
    """Return each of `MEASURES` (R, A), cost in USD per 1000 queries."""
    calibrates = ground.rows if ground.calibrates is None else ground.calibrates
    first = np.zeros((REPEATS, len(scores.ids)), dtype=bool)
    first[:, calibrates] = halves(np.count_nonzero(calibrates), REPEATS, np.random.default_rng(0))
    columns = [over_splits(s, scores, first, ground.rows & ~first, alphas) for alphas, s in parts]
    found = {name: np.concatenate([c[name] for c in columns], axis=1) for name in MEASURES}
    return found | {"cost": 1000 * found["cost"]}


def how_good(scores: Scores) -> dict[str, float]:
    """Return likelihoods, calibration error and top-1 accuracy of a router on the held-out rows, joint fitted."""
    ready, _ = set_rule(scores, SetsConfig(), RiskConfig())
    rows = np.isin(ready.split, ("calibration", "test"))
    own, joint = scores.take(rows), ready.take(rows)
    y, p = own.outcomes, np.clip(own.probabilities[:, :-1], 1e-6, 1 - 1e-6)
    bins = reliability(own)
    error = sum(b["count"] * abs(b["predicted"] - b["observed"]["value"]) for b in bins) / sum(b["count"] for b in bins)
    return {"log loss, a model": -np.mean(np.where(y, np.log(p), np.log1p(-p))),
            "log loss, whole row / M": row_loss(joint), "calibration error": error,
            "top-1 right": y[np.arange(len(y)), p.argmax(axis=1)].mean()}


def row_loss(rows: Scores) -> float:
    """Return minus the mean log-likelihood of whole outcome rows under the joint, per model."""
    each = rows.joint.log_likelihood(rows.outcomes) + np.log(rows.joint.weights)
    return float(-special.logsumexp(each, axis=1).mean() / rows.outcomes.shape[1])


def landmarks(scores: Scores, ground: Ground) -> dict[str, dict]:
    """Return what policies without sets do on all rows of a ground: chosen on train, no split needed."""
    found = baselines.all_baselines(scores.of_split("train"), scores.take(ground.rows))
    return {name: found[name] for name in ("best_single", "best_per_task", "top2", "all", "oracle")}


def best_opponent(cells: Cells, ground: str, measure: str, a: int) -> tuple[str, str]:
    """Return the opponent with the smallest mean at the a-th alpha: chosen on the very rows it is judged on."""
    return min(OPPONENTS, key=lambda name: cells[(ground, *name)][measure][:, a].mean())


def ratio(cells: Cells, ground: str, sets: str, measure: str, a: int) -> dict | None:
    """Return ours over the best opponent's, paired by split, with its interval."""
    theirs = cells[(ground, *best_opponent(cells, ground, measure, a))][measure][:, a]
    return intervals.over_splits(cells[ground, "latent", sets][measure][:, a] / theirs)


def document(cells: Cells, quality: dict, context: dict) -> list[str]:
    lines = ["# Routers and sets on real tables", "", "Made by `python benchmarks/routers.py` with `$RACER_DATA` set. "
             f"{REPEATS} random halves of the calibration and test rows, misrouting, pac with confidence 0.9, frozen "
             "all-MiniLM-L6-v2. Intervals are 95 % over splits, widened because splits share rows (Nadeau and Bengio "
             "2003). USD are per 1000 queries. Every number, at every alpha: `docs/results.csv`.", "",
             "## Against the best of the six opponents", "",
             "The opponents are RACER-P and RACER-G on softmax scores with the null 1-max, and on sigmoid scores with "
             "the learned null and with 1-max, on heads trained like ours. The best of the six is taken on the test "
             "rows themselves, for each column apart, which favours it. Ours are sets of the latent head, null free.",
             "", "![cost and size over the best opponent's](figures/routers.png)", ""]
    for measure, rules in AIMS.items():
        for sets in rules:
            lines += goal_table(cells, list(context), sets, measure)
    lines += shows(cells) + quality_tables(quality)
    for ground, policies in context.items():
        lines += ground_table(cells, ground, policies)
    return lines


def shows(cells: Cells) -> list[str]:
    """Return what the ratios at alpha = .1 come to, and why they are what they are."""
    a, tables = ALPHAS.index(0.1), [*TABLES]
    sets = [name for name in dict.fromkeys(ground for ground, *_ in cells) if OOD not in name and name != "routerdc"]
    size = {name: ratio(cells, name, "coverage, size", "size", a) for name in {*tables, *sets}}
    cost = {name: ratio(cells, name, "coverage, cost^.75", "cost", a) for name in tables[1:]}
    sure = [name for name in sets if size[name]["high"] <= 1]
    lines = ["### What this shows", "",
             f"- Size at alpha 0.1: {mean_of(size, tables):.2f} of the best opponent's on average over the three "
             f"tables, {mean_of(size, sets):.2f} over the six sets (RouterDC's four apart). The interval lies below 1 "
             f"on {len(sure)} of the six ({', '.join(sure)}) and holds 1 on the others; a half of ARC-C is some 160 "
             "queries.",
             "- Cost at alpha 0.1: " + ", ".join(f"{r['value']:.3f} on {name}" for name, r in cost.items()) + ". The "
             "prices do that: a few cheap models are together right where a dear one is, and sets by score alone do "
             "not know it.", "- The sets matter more than the router. `coverage, cost^.75` at alpha 0.1, USD, by "
             "router:"]
    for name in tables[1:]:
        usd = {r: c["cost"][:, a].mean() for (g, r, s), c in cells.items() if (g, s) == (name, "coverage, cost^.75")}
        theirs = cells[(name, *best_opponent(cells, name, "cost", a))]["cost"][:, a].mean()
        lines.append(f"  - {name}: " + ", ".join(f"{r} {usd[r]:.3f}" for r in sorted(usd, key=usd.get))
                     + f"; the best opponent {theirs:.3f}")
    return [*lines, "- A softmax over the models is no probability that each is right: its log loss per model below is "
            "shown for completeness.", ""]


def mean_of(ratios: dict[str, dict], names: list[str]) -> float:
    return float(np.mean([ratios[name]["value"] for name in names]))


def goal_table(cells: Cells, names: list[str], sets: str, measure: str) -> list[str]:
    rows = []
    for ground in names:
        found = [ratio(cells, ground, sets, measure, a) if (ground, "latent", sets) in cells else None
                 for a in range(len(ALPHAS))]
        if any(found):
            best = " ".join(best_opponent(cells, ground, measure, ALPHAS.index(0.1)))
            rows.append([ground, *(shown(r, 2) for r in found), best])
    header = ["", *(f"alpha {a:g}" for a in ALPHAS), "best opponent at 0.1"]
    return [f"### {measure.capitalize()} ratio, sets: {sets}", "", *markdown(header, rows), ""]


def quality_tables(quality: dict) -> list[str]:
    lines = ["## How good the estimates are", "", "On the calibration and test rows; a router without a joint has one "
             "fitted on validation rows for the likelihood of whole rows.", ""]
    for table in TABLES:
        of = {router: q for (t, router), q in quality.items() if t == table}
        header = [table, *next(iter(of.values()))]
        lines += [*markdown(header, [[router, *(f"{v:.4f}" for v in q.values())] for router, q in of.items()]), ""]
    return lines


def ground_table(cells: Cells, ground: str, policies: dict[str, dict]) -> list[str]:
    a = ALPHAS.index(0.1)
    rows = [[router, sets, *(shown(intervals.over_splits(found[name][:, a]), digits) for name, digits in
                             (("risk", 3), ("size", 2), ("cost", 3), ("miss_given_solvable", 3), ("abstention", 3)))]
            for (place, router, sets), found in cells.items() if place == ground]
    header = ["router", "sets", "misrouting", "models asked", "USD", "missed, of solvable", "abstained"]
    plain = [[name.replace("_", " "), shown(p["accuracy"], 3), shown(p["size"], 2),
              shown(p["cost"] and {k: 1000 * v for k, v in p["cost"].items()}, 3)] for name, p in policies.items()]
    return [f"## {ground}, alpha = 0.1", "", *markdown(["policy", "a right model asked", "models asked", "USD"], plain),
            "", *markdown(header, rows), ""]


def write_csv(cells: Cells) -> None:
    with open(ROOT / "docs" / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ground", "router", "sets", "alpha", "measure", "mean", "low", "high"])
        for name, found in cells.items():
            for measure, values in found.items():
                for alpha, column in zip(ALPHAS, values.T, strict=True):
                    if interval := intervals.over_splits(column):
                        writer.writerow([*name, alpha, measure, *(f"{v:.6g}" for v in interval.values())])


def draw(cells: Cells) -> None:
    """Draw size and cost over the best opponent's, against alpha, one line a ground."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, (measure, rules) in zip(axes, AIMS.items(), strict=True):
        axis.axhline(1, color=GREY, linestyle="--", linewidth=1)
        for table, colour in zip(TABLES, (GREEN, ORANGE, BLUE), strict=True):
            if (table, "latent", rules[0]) in cells:
                found = [ratio(cells, table, rules[0], measure, a) for a in range(len(ALPHAS))]
                value = np.array([r["value"] for r in found])
                spread = [value - [r["low"] for r in found], [r["high"] for r in found] - value]
                axis.errorbar(ALPHAS, value, spread, color=colour, label=table, **STYLE)
        axis.set(xlabel="risk level alpha", ylabel=f"{measure} over the best opponent's", ylim=(0, None), xticks=ALPHAS)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.savefig(ROOT / "docs" / "figures" / "routers.png", dpi=140)


if __name__ == "__main__":
    with cli.clear_errors():
        main()

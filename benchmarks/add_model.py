"""How well a model is known that was added from a few outcomes, beside one that was there when the router was trained.

    [RACER_DATA=FOLDER] python benchmarks/add_model.py [tables=kitchen,routerbench]

Each model of a table is left out in turn, a router is trained on the others, and the model is added from 100, 200, 400
and all train outcomes by the job of `scripts/add_model.py`. Writes the sections of these tables in `docs/add_model.md`.
Six to nine minutes a table on one core once the queries are embedded; what is done is not done again.
"""

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
from document import markdown, write_section
from scipy import stats
from tqdm import tqdm

from racer import add_model, cli, config, pipeline
from racer import scores as scores_file
from racer.choice import set_rule
from racer.config import Config, RiskConfig, SetsConfig
from racer.repeated import halves, over_splits
from racer.scores import Scores

ROOT = Path(__file__).parents[1]
RUNS, PAGE = ROOT / "outputs" / "add_model", ROOT / "docs" / "add_model.md"
TABLES = {"kitchen": [], "routerbench": ["encoder.truncation_side=left"]}
OUTCOMES, ALPHA, REPEATS = (100, 200, 400, None), 0.1, 20
RATE, RETRAINED = "its rate on train, the same for every query", "trained again with all models"
MEASURES = {"log loss": 4, "AUC": 3, "joint log loss": 4, "models asked": 2, "USD": 3, "misrouting": 3}


def main(tables: list[str]) -> None:
    _, mark, sections = (PAGE.read_text(encoding="utf-8") if PAGE.exists() else "").partition("\n## ")
    PAGE.write_text(HEAD + mark + sections, encoding="utf-8")
    for table in tables:
        whole = settings(table)
        full = run_of(whole, "full")
        found = {name: beside(whole, full, name) for name in tqdm(full.models, desc=table, unit="model")}
        write_section(table, "\n".join(section(found)), PAGE)


def settings(table: str) -> Config:
    return config.composed("train", [f"data={table}", "tracking.wandb=off", f"run_dir={RUNS / table}", *TABLES[table]])


def run_of(chosen: Config, name: str, old: Path | None = None, outcomes: int | None = None) -> Scores:
    """Return the router's scores of a run below that of `chosen`, trained, or grown out of the run `old`."""
    run = Path(chosen.run_dir) / name
    if not (run / "report.json").exists():
        with redirect_stdout(StringIO()):
            one = replace(chosen, run_dir=str(run))
            pipeline.run(one) if old is None else add_model.run(one, old, None, outcomes)
    return scores_file.load(run / "scores.npz").uncoupled()


def beside(whole: Config, full: Scores, name: str) -> dict[str, dict[str, float]]:
    """Return what is measured of the model `name`, by how it came to be known."""
    others = [m for m in full.models if m != name]
    run_of(replace(whole, data=replace(whole.data, models=others)), f"without {name}")
    old = Path(whole.run_dir) / f"without {name}"
    grown = {n: run_of(whole, f"{name} from {n or 'all'}", old, n) for n in OUTCOMES}
    found = {RATE: measured(by_rate(grown[None]), name)}
    for n, scores in grown.items():
        count = (scores.split == "train").sum()
        found[f"added from {count if n else 'all'} outcomes"] = measured(scores, name)
    return found | {RETRAINED: measured(full, name)}


def by_rate(scores: Scores) -> Scores:
    """Return the scores with the last model's column at its rate on train, independent of the others."""
    rate = scores.outcomes[scores.split == "train", -1].mean()
    p, logits, loadings = scores.probabilities.copy(), scores.joint.logits.copy(), scores.joint.loadings.copy()
    p[:, -2], logits[:, -1], loadings[:, -1] = rate, np.log(rate / (1 - rate)), 0.0
    return replace(scores, probabilities=p, joint=replace(scores.joint, logits=logits, loadings=loadings))


def measured(scores: Scores, name: str) -> dict[str, float]:
    """Return each of `MEASURES` on the calibration and test rows; the sets' are means over random halves of them."""
    ready, rule = set_rule(scores, SetsConfig(), RiskConfig(alpha=ALPHA))
    rows = ready.take(np.isin(ready.split, ("calibration", "test")))
    y, p = rows.outcomes[:, rows.models.index(name)], rows.probabilities[:, rows.models.index(name)]
    n, right = len(y), int(y.sum())
    above = stats.rankdata(p)[y].sum() - right * (right + 1) / 2
    given = rows.joint.log_likelihood(rows.outcomes.astype(float)) + np.log(rows.joint.weights)
    first = halves(n, REPEATS, np.random.default_rng(0))
    sets = over_splits(rule.of_scores(rows), rows, first, ~first, (ALPHA,))
    return {"log loss": -np.mean(np.where(y, np.log(p), np.log1p(-p))), "AUC": above / (right * (n - right)),
            "joint log loss": -np.logaddexp.reduce(given, axis=1).mean() / len(rows.models),
            "models asked": sets["size"].mean(), "USD": 1000 * sets["cost"].mean(), "misrouting": sets["risk"].mean()}


def section(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Return means over the models left out, then each model by itself."""
    ways = list(next(iter(found.values())))
    mean = [[way, *(f"{np.mean([f[way][m] for f in found.values()]):.{d}f}" for m, d in MEASURES.items())]
            for way in ways]
    lines = [*markdown([f"mean over {len(found)} models", *MEASURES], mean), ""]
    for measure in ("log loss", "USD"):
        rows = [[name, *(f"{f[way][measure]:.{MEASURES[measure]}f}" for way in ways)] for name, f in found.items()]
        short = ["rate", *(str(n or "all") for n in OUTCOMES), "trained again"]
        lines += [*markdown([f"{measure}, by model left out", *short], rows), ""]
    return lines


HEAD = """# A model that joins later

Made by `python benchmarks/add_model.py`. Each model of a table is left out in turn; a router is trained on the others
(latent head, frozen all-MiniLM-L6-v2; on RouterBench with `encoder.truncation_side=left`), and the model is added by
the job of `scripts/add_model.py`. The ridge is chosen on all validation rows. All is measured on the calibration and
test rows: the new model's log loss and AUC; the log loss of whole outcome rows, per model, under the joint; and, over
20 random halves, sets by default at alpha .1 (misrouting, pac, confidence .9): models asked and USD per 1000 queries.
The promise holds for every row, also the first; how well the new model is known shows in what the sets cost. One seed;
differences in the last digit are noise.

What this shows: alone, the newcomer is soon known nearly as well as by training again. How it goes with the others is
not always: on the embedded pool the joint is as good as trained again, on RouterBench it is not, and the sets there are
no cheaper than with the newcomer's rate alone. An added model has one loading for all queries, a trained one has one
for each query.
"""


if __name__ == "__main__":
    with cli.clear_errors():
        given = dict(argument.split("=", 1) for argument in sys.argv[1:])
        main(given.get("tables", ",".join(TABLES)).split(","))

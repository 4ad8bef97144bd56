"""The model card of a router, written from its run: the pool, the data, the promise, what was measured, the limits."""

import json
from pathlib import Path

from racer import artifact as artifact_file
from racer.artifact import Artifact

LIMITS = ("*Not that the answer is right.* A set may hold a right model and wrong ones; the promise is about who is "
          "asked.",
          "*Not per task*, unless it was made by group: it holds for the mixture of queries it was calibrated on.",
          "*Not out of distribution.* Other tasks, languages or users are other queries.",
          "*Not for a changed model.* A new version of a model, or another prompt, needs a new calibration.",
          "*Not that the observed risk is below the level on every sample*, even where the promise is kept.")
SURE = {"online": "in the long run of any stream, every loss being fed back",
        "weighted": "on average over new traffic, under covariate shift only",
        "group": "in each group with a cut of its own"}
BASELINES = {"best_single": "the best single model", "top2": "the two likeliest", "all": "everyone",
             "oracle": "the cheapest right one, known afterwards"}


def model_card(run: Path, name: str) -> str:
    """Return the card (Markdown with YAML front matter) of the router in `run`, to be loaded as `name`.

    It is written from `router/router.json` and, where they are there, `calibration.json`, `certificate.json` and
    `report.json`.
    """
    router, report = _read(run / "router" / "router.json"), _read(run / "report.json")
    made = artifact_file.load(run / "calibration.json") if (run / "calibration.json").is_file() else None
    parts = [_front(router), f"# {name.rsplit('/', 1)[-1]}", _what(router["models"]), "## Pool", _pool(router, made),
             "## Data", _data(router, report), "## Promise", _promise(made, _read(run / "certificate.json")),
             "## Measured", _measured(report), "## Limits", _limits(made, router), "## Use", _use(name)]
    return "\n\n".join(parts) + "\n"


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _front(router: dict) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(library_name="racer", tags=["llm-routing", "conformal-prediction", router["head"]["name"]])
    return f"---\n{data.to_yaml()}\n---"


def _what(models: list[str]) -> str:
    return (f"A router by [RACER](https://arxiv.org/abs/2603.06616) over a pool of {len(models)} models. It reads a "
            "query and says which models are to be asked: as few as keep the promise below, or none. It answers "
            "nothing itself and holds no model of the pool.")


def _pool(router: dict, made: Artifact | None) -> str:
    prices = made.rule.prices if made else None
    if prices is None:
        return "\n".join([f"- {model}" for model in router["models"]])
    rows = [[model, f"{1000 * price:.4g}"] for model, price in zip(router["models"], prices, strict=True)]
    return "\n".join(_table(["model", "USD per 1000 queries, mean on train"], rows))


def _data(router: dict, report: dict | None) -> str:
    said = f"Trained on {router['trained_on']}."
    if "(simulated)" in router["trained_on"]:
        said += " The pool is simulated, no real model was asked: the numbers say nothing about any real model."
    if report is None:
        return said
    counts = ", ".join(f"{n:,} {split}" for split, n in report["n"].items() if n)
    tasks = ", ".join(report["tasks"]) or "one"
    return f"{said} Queries by split: {counts}. Tasks: {tasks}."


def _promise(made: Artifact | None, certificate: dict | None) -> str:
    if made is None:
        return "None: the router is not calibrated. It gives probabilities, no sets."
    c = made.calibration
    sure = "on average over calibration sets" if c.delta is None else f"with confidence {1 - c.delta:g}"
    sure = SURE[c.method] if c.method in SURE and c.delta is None else sure
    sure = f"{SURE['group']}, {sure}" if c.kind == "group" else sure
    lines = [f"- {loss} risk <= {alpha:g} on new queries like the {c.n:,} calibration queries, {sure} (`{c.method}`; "
             f"sets `{made.rule.family}`, null `{made.rule.null}`)" for loss, alpha in made.risk.promises]
    return "\n".join([*lines, *_certified(certificate)])


def _certified(certificate: dict | None) -> list[str]:
    if certificate is None:
        return []
    if certificate["status"] != "certified":
        return ["- of the answers: nothing could be certified; `consult` answers no query"]
    levels = ", ".join(f"{name.replace('_', ' ')} <= {level:g}" for name, level in certificate["promises"].items())
    return [f"- of the answers: {levels}, with confidence {certificate['confidence']:g}, by the policy "
            f"\"{certificate['policy']['text']}\""]


def _measured(report: dict | None) -> str:
    if report is None:
        return "This calibration was not evaluated on test queries."
    rows = [["RACER", _value(report["set_accuracy"]), _value(report["set_size"], 2), _usd(report["cost"]["usd"])]]
    for name, title in BASELINES.items():
        if found := report["baselines"].get(name):
            rows.append([title, _value(found["accuracy"]), _value(found["size"], 2), _usd(found["cost"])])
    lines = [f"On {report['n']['test']:,} test queries, with 95 % intervals. Observed {report['loss']} risk: "
             f"{_value(report['risk'][report['loss']])}. Nobody asked: {_value(report['abstention'])}. Nobody in the "
             f"pool is right: {_value(report['unsolvable'])}.", "",
             *_table(["who is asked", "a right model is asked", "models asked", "USD per 1000 queries"], rows)]
    if report["tasks"]:
        rows = [[name, str(t["queries"]), f"{t['risk'][report['loss']]['value']:.3f}", f"{t['set_size']['value']:.2f}"]
                for name, t in report["tasks"].items()]
        lines += ["", *_table(["task", "queries", report["loss"], "models asked"], rows)]
    return "\n".join(lines)


def _limits(made: Artifact | None, router: dict) -> str:
    lines = ["The promise does not say:", "", *(f"- {line}" for line in LIMITS)]
    if made is not None and made.calibration.method == "pac":
        lines.append("- *Not for another level, picked after looking.* Calibrate again.")
    return "\n".join([*lines, "", f"The encoder reads {router['max_length']} tokens of a query; what is beyond is cut "
                                  f"off on the {router['truncation_side']}."])


def _use(name: str) -> str:
    return "\n".join(["```python", "import racer", "", f"router = racer.Router.load({json.dumps(name)})",
                      '[decision] = router.route(["What is 15 % of 240?"])',
                      "decision.members, decision.abstain, decision.probabilities", "```", "",
                      "Files are checked against their fingerprints on loading; changed weights, or a calibration of "
                      "another router, are refused."])


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
            for row in (head, ["---"] * len(head), *rows)]


def _value(measured: dict | None, digits: int = 3) -> str:
    if measured is None:
        return "-"
    return f"{measured['value']:.{digits}f} [{measured['low']:.{digits}f}, {measured['high']:.{digits}f}]"


def _usd(cost: dict | None) -> str:
    return "-" if cost is None else _value({k: 1000 * v for k, v in cost.items()}, 4)

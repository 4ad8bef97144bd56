"""From sets to answers on real tables: votes, policies, and what certificates of the answer realise over many splits.

    RACER_DATA=FOLDER python benchmarks/answers.py

Trains one router a table (the first run embeds every query), fits votes and fixes policies on its validation rows, and
certifies on `SPLITS` random halves of the calibration and test rows, each judged on the other half. Writes
`docs/answers.md` and two figures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from document import markdown
from matplotlib.figure import Figure
from tqdm import tqdm

from racer import certify, cli, config, pipeline, recorded
from racer import scores as scores_file
from racer.aggregate import AGGREGATORS
from racer.bounded import EVERYTHING
from racer.certify import Design, Grid, Trial, Verdict
from racer.choice import set_rule
from racer.figures import BLUE, GREEN, GREY, ORANGE
from racer.intervals import paired
from racer.policy import Ladder, Played, Policy, Track, climb, play
from racer.promises import Tally, above_by_chance
from racer.recorded import Recorded
from racer.repeated import halves
from racer.rule import SetRule
from racer.sequential import call
from racer.voters import Voter

ROOT = Path(__file__).parents[1]
SPLITS, DELTA = 50, 0.1
TABLES = {"mmlupro": [], "routerbench": ["encoder.truncation_side=left", "data.tasks=[arc-challenge,winogrande]"]}
FIXED = ["tracking.wandb=off", "sets.cost_power=0.5"]
TITLES = {"mmlupro": "MMLU-Pro", "routerbench": "RouterBench, ARC-C and WinoGrande"}
COVERAGES = (0.25, 0.5, 0.75, 1.0)
SURE = (0.6, 0.7, 0.8, 0.9, 0.95)  # confidence at which a bet stops calling
PROMISES = {"mmlupro": [{"error_among_answered": level} for level in (0.1, 0.15, 0.2, 0.25, 0.3)],
            "routerbench": [{"error_among_answered": level} for level in (0.05, 0.08, 0.1, 0.15, 0.2)]}
ALSO = [{"harm": 0.02}, {"harm": 0.05}, {"harm": 0.1}, {"over_abstention": 0.1}, {"cost": 0.2},
        {"harm": 0.1, "cost": 0.3}, {"error_among_answered": 0.3, "over_abstention": 0.2, "harm": 0.2}]
COLOURS = {"best": GREY, "majority": GREEN, "weighted": "#7b4fa6", "bayes": BLUE, "learned": ORANGE}


@dataclass(frozen=True)
class Ground:
    """A table with its design, and the held-out rows on which policies are certified and judged."""

    name: str
    rule: SetRule
    design: Design
    trial: Trial  # on calibration and test rows together

    @property
    def rows(self) -> Recorded:
        return self.trial.rows

    def ladder(self, track: Track, aggregator: str) -> Ladder:
        key = track, aggregator
        if key not in self.trial.ladders:
            voter = Voter.of(self.design.aggregators[aggregator], self.rows)
            self.trial.ladders[key] = climb(track, self.rows, voter)
        return self.trial.ladders[key]

    def played(self, track: Track, size: int | None, aggregator: str, calling: str = "parallel",
               threshold: float = 0.0) -> Played:
        policy = Policy(track, EVERYTHING, size, aggregator, calling, threshold)
        return play(policy, self.ladder(track, aggregator), self.rows)

    @property
    def by_score(self) -> Track:
        return Track(replace(self.rule, family="probability"))

    @property
    def by_gain(self) -> Track:
        return Track(replace(self.rule, family="coverage", cost_power=0.5))


def main() -> None:
    grounds = [ground(table, extra) for table, extra in tqdm(TABLES.items(), unit="table")]
    found = {g.name: list(realised(g)) for g in grounds}
    draw_risk_coverage(grounds)
    draw_accuracy_cost(grounds, found)
    (ROOT / "docs" / "answers.md").write_text("\n".join(document(grounds, found)), encoding="utf-8")


def ground(table: str, extra: list[str]) -> Ground:
    """Return the table's design, from the validation rows of a run of the main job."""
    run = ROOT / "outputs" / "answers" / table
    settings = config.composed("train", [f"data={table}", *FIXED, *extra])
    pipeline.run(replace(settings, run_dir=str(run)))
    scores, rule = set_rule(scores_file.load(run / "scores.npz"), settings.sets, settings.risk)
    rows = Recorded.of(scores, recorded.load(run / recorded.FILE).aligned(scores.ids, scores.models).answers)
    design = Design.of(rows, rule, Grid())
    held_out = np.flatnonzero(np.isin(scores.split, ("calibration", "test")))
    return Ground(table, rule, design, Trial(design, rows.take(held_out)))


# ---------------------------------------------------------------- votes, whoever may be certified


def votes(g: Ground) -> Iterator[list[str]]:
    """Yield a row per aggregator and way of calling: accuracy, error at COVERAGES answered, calls, USD."""
    m = len(g.rows.scores.models)
    ways = {f"all {m} at once": (g.by_score, None), "first 3 by gain per cost": (g.by_gain, 3),
            "first 2 by score": (g.by_score, 2)}
    for name in AGGREGATORS:
        for way, (track, size) in ways.items():
            yield [name, way, *measured(g, g.played(track, size, name))]
        for sure in (0.8, 0.9):
            yield [name, f"by gain per cost until {sure:g} sure", *measured(g, until(g, name, sure))]


def until(g: Ground, name: str, sure: float) -> Played:
    """Return what calling by gain per cost gives when it stops at a confidence of `sure`, everything answered."""
    rows, ladder = g.rows, g.ladder(g.by_gain, name)
    n, m = rows.scores.outcomes.shape
    calls = call(ladder.s, np.ones((n, m), dtype=bool), g.design.aggregators[name], rows.answers.codes,
                 rows.answers.options, rows.estimate, stop_at=sure)
    model, answered = calls.vote.model[:, None], calls.vote.model[:, None] >= 0
    right = answered & np.take_along_axis(rows.scores.outcomes, np.maximum(model, 0), axis=1)
    spend = (calls.called * rows.prices).sum(axis=1)
    return Played(calls.called.sum(axis=1)[:, None], model, calls.vote.confidence[:, None], answered, right,
                  spend[:, None], (spend / rows.prices.sum(axis=1))[:, None])


def measured(g: Ground, p: Played) -> list[str]:
    errors = [error_at(p, share) for share in COVERAGES]
    return [f"{p.right.mean():.3f}", *("-" if e is None else f"{e:.3f}" for e in errors), f"{p.calls.mean():.2f}",
            f"{1000 * p.spend.mean():.4f}"]


def error_at(p: Played, share: float) -> float | None:
    """Return the error among the most confident `share` of all queries; None where fewer have an answer.

    Of queries with equal confidence at the edge the expected part of their errors counts. At a share of 1 those
    without an answer are left out.
    """
    given, n = p.model[:, 0] >= 0, len(p.model)
    confidence, wrong = p.confidence[given, 0], ~p.right[given, 0]
    count = min(round(share * n), len(wrong)) if share == 1 else round(share * n)
    if not 0 < count <= len(wrong):
        return None
    edge = np.sort(confidence)[::-1][count - 1]
    above, tied = confidence > edge, confidence == edge
    return float((wrong[above].sum() + (count - above.sum()) * wrong[tied].mean()) / count)


def twins(g: Ground) -> Iterator[list[str]]:
    """Yield how calls one after the other differ from calls at once, for the votes that know when they are settled."""
    track = g.by_score
    for name in ("majority", "weighted", "best"):
        for threshold in (0.0, 0.5, 0.7):
            at_once, one_by_one = (g.played(track, None, name, way, threshold) for way in ("parallel", "settled"))
            differ = int((said(g, at_once) != said(g, one_by_one)).sum())
            yield [name, f"{threshold:g}", str(differ), f"{at_once.calls.mean():.2f}",
                   f"{one_by_one.calls.mean():.2f}", f"{1000 * at_once.spend.mean():.4f}",
                   f"{1000 * one_by_one.spend.mean():.4f}"]


def said(g: Ground, p: Played) -> np.ndarray:
    """Return the answer returned to each query (n,), as its code; -1 where it is none."""
    codes = np.take_along_axis(g.rows.answers.codes, np.maximum(p.model, 0), axis=1)
    return np.where(p.answered, codes, -1)[:, 0]


# ---------------------------------------------------------------- certificates over many splits


@dataclass(frozen=True)
class Realised:
    """What certified policies gave on the other half of each split: (R,), NaN where none was certified."""

    promises: dict[str, float]
    who: str
    test: dict[str, np.ndarray]
    chance: dict[str, np.ndarray]  # of showing more than promised, just certified
    worse: np.ndarray  # the paired interval of best single's accuracy minus ours lies above the harm promised

    @property
    def certified(self) -> np.ndarray:
        return ~np.isnan(self.test["answered"])


@dataclass(frozen=True)
class Half:
    """Policies in `order`, played on some rows: what `certify` asks of a trial."""

    order: np.ndarray
    played: Played  # (n, F)
    rows: Recorded

    def tally(self, which: np.ndarray) -> Tally:
        if not np.array_equal(which, self.order):
            raise ValueError("other policies than those that were played")
        return Tally.of(self.played, self.rows, keep_shares=True)

    def take(self, rows: np.ndarray) -> "Half":
        return Half(self.order, self.played.take(rows), self.rows.take(rows))


def realised(g: Ground) -> Iterator[Realised]:
    """Yield every promise of the grid, by all aggregators and by one alone."""
    cases = [(promises, who) for promises in PROMISES[g.name] for who in ("any", "best", "bayes", "learned")]
    for promises, who in tqdm([*cases, *((promises, "any") for promises in ALSO)], desc=g.name, unit="promise"):
        yield over_splits(g, promises, who)


def over_splits(g: Ground, promises: dict[str, float], who: str) -> Realised:
    which = [k for k, policy in enumerate(g.design.policies) if who in ("any", policy.aggregator)]
    design = replace(g.design, policies=tuple(g.design.policies[k] for k in which), tally=g.design.tally.take(which))
    order, _ = design.order(promises, len(g.rows.scores.ids) // 2, DELTA)
    each = [g.trial.play(which[k]) for k in order]
    both = Half(order, Played(*(np.hstack([getattr(p, name) for p in each]) for name in Played.__dataclass_fields__)),
                g.rows)
    n, rng = len(g.rows.scores.ids), np.random.default_rng(0)
    found = []
    for first in halves(n, SPLITS, rng):
        verdict = certify.certify(design, both.take(first), promises, DELTA)
        found.append(judged(both.take(~first), verdict, rng))
    tests, chances, worse = zip(*found, strict=True)
    return Realised(promises, who, {name: np.array([t[name] for t in tests]) for name in tests[0]},
                    {name: np.array([c.get(name, np.nan) for c in chances]) for name in promises}, np.array(worse))


def judged(other: Half, verdict: Verdict, rng: np.random.Generator) -> tuple[dict, dict, bool]:
    """Return what the certified policy gave on the other half, its chances, and whether it is worse than promised."""
    names = ("accuracy", "answered", "error_among_answered", "over_abstention", "cost", "harm", "usd")
    if verdict.chosen is None:
        return dict.fromkeys(names, np.nan), {}, False
    place = np.flatnonzero(verdict.order == verdict.chosen)
    tally, n = other.tally(other.order).take(place), len(other.rows.scores.ids)
    right = other.played.right[:, place[0]]
    risks = {name: float(tally.observed(name)[0]) for name in names[2:6]}
    test = {"accuracy": right.mean(), "answered": tally.answered[0] / n, **risks, "usd": float(tally.spend[0])}
    one = verdict.tally.take(place)
    chance = {name: above_by_chance(one, name, level, DELTA, int(tally.answered[0]) if name == "error_among_answered"
                                    else n) for name, level in verdict.promises.items()}
    behind = other.rows.scores.outcomes[:, other.rows.reference].astype(float) - right
    worse = "harm" in verdict.promises and paired(behind, rng, 500)["low"] > verdict.promises["harm"]
    return test, {name: np.nan if c is None else c for name, c in chance.items()}, worse


# ---------------------------------------------------------------- what is written


def document(grounds: list[Ground], found: dict[str, list[Realised]]) -> list[str]:
    lines = ["# Answers on real tables", "", "Made by `python benchmarks/answers.py` with `$RACER_DATA` set. One "
             "router a table (the default head on frozen all-MiniLM-L6-v2). Votes are fitted and policies fixed on "
             f"validation rows; {SPLITS} random halves of the calibration and test rows certify, the other half "
             "judges; confidence 0.9. Splits share rows, so their shares are not of independent trials. USD are per "
             "1000 queries. Every call is billed, those whose answers were lost too; accuracy counts abstentions as "
             "not right.", "",
             "![error among answered against the share answered](figures/answers_risk_coverage.png)", "",
             "![accuracy against cost](figures/answers_accuracy_cost.png)", ""]
    for g in grounds:
        lines += section(g, found[g.name])
    return lines


def section(g: Ground, results: list[Realised]) -> list[str]:
    rows, design = g.rows, g.design
    head = f"{len(rows.scores.ids)} held-out queries, {design.tally.n} validation queries, {len(rows.scores.models)} " \
           f"models, {len(design.policies)} policies."
    return [f"## {TITLES[g.name]}", "", head, "", "### Policies to compare with", "",
            *markdown(["policy", "accuracy", "calls", "USD"], list(landmarks(g))), "",
            "### Votes", "", "Error among the most confident answers, everything answered that can be.", "",
            *markdown(["vote", "who is called", "accuracy", *(f"error at {share:.0%}" for share in COVERAGES), "calls",
                       "USD"], list(votes(g))), "",
            "### One after the other, the same answers", "", "Called by score until the rest can change nothing, "
            "beside all at once.", "",
            *markdown(["vote", "least confidence", "answers that differ", "calls at once", "calls", "USD at once",
                       "USD"], list(twins(g))), "",
            "### Certificates", "", "By which votes; in how many splits a policy is certified; what it gives then on "
            "the other half, on average; in how many of these splits the observed number is above the promise, beside "
            "the share expected at most, were every policy only just certified (Beta-Binomial).", "",
            *markdown(["promise", "votes", "certified", "realised", "above", "expected at most", "answered", "accuracy",
                       "USD"], [row for r in results for row in certificate_rows(r)]), "", *harm_lines(results), ""]


def certificate_rows(r: Realised) -> Iterator[list[str]]:
    """Yield one row per promise of a set of promises."""
    sure = r.certified
    for name, level in r.promises.items():
        text = ", ".join(f"{n.replace('_', ' ')} <= {v:g}" for n, v in r.promises.items())
        row = [text if name == next(iter(r.promises)) else "", r.who, f"{sure.sum()} of {len(sure)}"]
        if not sure.any():
            yield [*row, *["-"] * 6]
            return
        seen, chance = r.test[name][sure], r.chance[name][sure]
        label = "" if len(r.promises) == 1 else f" ({name.replace('_', ' ')})"
        yield [*row, f"{np.nanmean(seen):.3f}{label}", f"{np.mean(seen > level):.2f}",
               "-" if np.isnan(chance).all() else f"{np.nanmean(chance):.2f}", f"{r.test['answered'][sure].mean():.3f}",
               f"{r.test['accuracy'][sure].mean():.3f}", f"{1000 * r.test['usd'][sure].mean():.4f}"]


def harm_lines(results: list[Realised]) -> list[str]:
    """Say in how many splits the best single model is ahead by surely more than the harm promised."""
    with_harm = [r for r in results if "harm" in r.promises and r.certified.any()]
    worse, total = sum(int(r.worse.sum()) for r in with_harm), sum(int(r.certified.sum()) for r in with_harm)
    return [f"Of {total} certified policies with a promise of harm, {worse} are behind the best single model by more "
            "than the promise beyond doubt (the paired 95 % interval of the difference excludes it)."]


def landmarks(g: Ground) -> Iterator[list[str]]:
    for name, (accuracy, calls, usd) in points(g).items():
        yield [name, f"{accuracy:.3f}", f"{calls:.2f}", f"{usd:.4f}"]


def points(g: Ground) -> dict[str, tuple[float, float, float]]:
    """Return accuracy, calls and USD per 1000 queries of what one would do without certificates."""
    scores, plain = g.rows.scores, {
        "best single": g.played(Track(g.by_score.rule, g.rows.reference), 1, "best"),
        "router alone": g.played(g.by_score, 1, "best"), "top 2, majority": g.played(g.by_score, 2, "majority"),
        "ask all, majority": g.played(g.by_score, None, "majority"),
        "ask all, learned": g.played(g.by_score, None, "learned")}
    found = {name: (p.right.mean(), p.calls.mean(), 1000 * p.spend.mean()) for name, p in plain.items()}
    cheapest = np.where(scores.outcomes, scores.cost, np.inf).min(axis=1)
    solved = np.isfinite(cheapest)
    return found | {"oracle": (solved.mean(), solved.mean(), 1000 * np.where(solved, cheapest, 0).mean())}


def draw_risk_coverage(grounds: list[Ground]) -> None:
    """Draw error among answered against the share answered, everyone asked, one line a vote."""
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    for axis, g in zip(figure.subplots(1, len(grounds)), grounds, strict=True):
        for name in AGGREGATORS:
            p = g.played(g.by_score, None, name)
            shares = np.linspace(0.05, (p.model >= 0).mean(), 60)
            label = "router's own confidence (best)" if name == "best" else name
            axis.plot(shares, [error_at(p, share) for share in shares], color=COLOURS[name], label=label, linewidth=1.5)
        single = 1 - points(g)["best single"][0]
        axis.axhline(single, color=GREY, linestyle=":", linewidth=1, label="best single, all answered")
        axis.set(xlabel="share answered", ylabel="error among answered", title=TITLES[g.name], xlim=(0, 1),
                 ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(ROOT / "docs" / "figures" / "answers_risk_coverage.png", dpi=140)


def draw_accuracy_cost(grounds: list[Ground], found: dict[str, list[Realised]]) -> None:
    """Draw accuracy over all queries against USD: single models, plain policies, bets, certified policies."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    for axis, g in zip(figure.subplots(1, len(grounds)), grounds, strict=True):
        scores = g.rows.scores
        axis.scatter(1000 * scores.cost.mean(axis=0), scores.outcomes.mean(axis=0), color=GREY, s=14,
                     label="single models")
        for i, (name, (accuracy, _, usd)) in enumerate(points(g).items()):
            axis.scatter(usd, accuracy, color="black", marker="x", s=22)
            axis.annotate(name, (usd, accuracy), fontsize=7, xytext=(-6, (5, -10, 14, -19)[i % 4]), ha="right",
                          textcoords="offset points")
        for name in ("bayes", "learned"):
            bets = [until(g, name, sure) for sure in SURE]
            axis.plot([1000 * b.spend.mean() for b in bets], [b.right.mean() for b in bets], "o-", color=COLOURS[name],
                      markersize=3, linewidth=1.2, label=f"{name}, one by one until sure")
        harm = [r for r in found[g.name] if list(r.promises) == ["harm"] and r.certified.any()]
        axis.scatter([1000 * np.nanmean(r.test["usd"]) for r in harm], [np.nanmean(r.test["accuracy"]) for r in harm],
                     color=GREEN, marker="D", s=24, label="certified harm <= .02, .05, .1", zorder=3)
        axis.set(xscale="log", xlabel="USD per 1000 queries", ylabel="accuracy over all queries", title=TITLES[g.name])
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=7, loc="lower right")
    figure.savefig(ROOT / "docs" / "figures" / "answers_accuracy_cost.png", dpi=140)


if __name__ == "__main__":
    with cli.clear_errors():
        main()

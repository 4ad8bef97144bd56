"""RACER's own protocol on RouterDC's tables, next to what is known of the paper's numbers.

    RACER_DATA=FOLDER python benchmarks/paper_protocol.py

Runs `conf/experiment/paper_protocol.yaml` and writes `docs/paper_protocol.md`, `docs/paper_protocol.csv` with every
number, and `docs/figures/paper_protocol.png`. Two minutes on one core once all queries are embedded.
"""

from pathlib import Path

import numpy as np
from document import markdown, shown

from racer import cli, comparison, config, data, experiment, gather, intervals
from racer.findings import Finding
from racer.scores import Scores

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SETS = ("risk", "size", "abstention")
PUBLISHED_BASE, PUBLISHED_SIZE, PUBLISHED_ALPHA = 75, 2.8, 0.03  # GSM8K: base router (%), models of RACER-P at alpha
AGGREGATED = {"mmlu": 63.7, "arc_challenge": 56.8, "cmmlu": 50.7}  # accuracy of the answers combined, %
RACER_P = "softmax RACER-P, 1-max"

INTRODUCTION = """
The protocol is that of RACER (arXiv 2603.06616) as far as we know it: its first page, its abstract and second-hand
accounts. Routers are trained on the train queries of MMLU, GSM8K, ARC-C and CMMLU together (RouterDC's recorded
outcomes of seven models). Then, for each test set by itself, its calibration and test rows are pooled and dealt anew
{repeats} times: 50 % calibrate, 10 % are held out, 40 % are judged. We use the held-out part for nothing: what must be
chosen is chosen on validation rows of train. The risk is misrouting: the set holds no right element, where "none of
them" is right exactly when no model is.

Numbers are means over the splits with 95 % intervals, widened because splits share rows (Nadeau and Bengio 2003)
and symmetric, so that near 0 one may reach below it. Every number, misses on solvable
queries included: `docs/paper_protocol.csv`.
""".strip()

REASONS = """
What explains the differences, as far as these tables can tell:

- Base router on GSM8K. Ours reads frozen all-MiniLM-L6-v2 vectors and is trained on every model's outcome for four test
  sets at once. We do not know the encoder, the training or the number of queries behind the paper's figure.
- Sets on GSM8K. Only softmax scores with the null 1 - max come near the paper's size. A softmax over models shares one
  unit of probability, so 1 - max is large on nearly all queries, the null is nearly always in the set, and unsolvable
  queries cost nothing. Sigmoid scores with a learned null must tell the unsolvable queries apart, and at small alpha
  nearly all seven models are asked. Whoever builds RACER on a multi-label head gets the second kind of sets.
- crc and pac. crc keeps the risk at alpha on average over calibration sets; the observed risk exceeded alpha in {crc}
  of the splits (one number per table row; the median row {crc_median}). pac keeps it for the cut in hand with
  confidence 0.9; there it was {pac} (median row {pac_median}), which is the noise of the judged rows as well. pac pays
  with more models. On ARC-C with 176 calibration queries pac cannot promise 0.01, for which it needs 230.
- Aggregated accuracy (MMLU 63.7, ARC-C 56.8, CMMLU 50.7) is not comparable. The tables hold scores, not answers, so no
  vote can be taken. The table above gives what surrounds such a number: the best model chosen on train, for all test
  sets together or for each, which needs no router at all, and the share of queries that some model answers right, which
  no vote can exceed.
""".strip()


def main() -> None:
    settings = config.composed("experiment", ["experiment=paper_protocol"])
    found = experiment.run(settings)
    variant = experiment.variant_of(settings, RACER_P, settings.variants[RACER_P])
    scores = experiment.scores_of(variant, data.load(settings.data))
    gather.write_csv(DOCS / "paper_protocol.csv", [finding.row() for finding in found])
    comparison.draw_findings(found, DOCS / "figures" / "paper_protocol.png")
    (DOCS / "paper_protocol.md").write_text("\n".join(document(found, scores, settings.splits.repeats)) + "\n")


def document(found: list[Finding], scores: Scores, repeats: int) -> list[str]:
    grounds = list(dict.fromkeys(f.ground for f in found))
    lines = ["# The paper's protocol on RouterDC's tables", "",
             "Made by `python benchmarks/paper_protocol.py` with `$RACER_DATA` set.", "",
             INTRODUCTION.format(repeats=repeats), "", "![risk, models asked and abstention against alpha]"
             "(figures/paper_protocol.png)", "", "## Routers", "",
             "Share of judged queries that the router's first choice answers right, over the splits.", "",
             *top1_table(found, grounds), "", "## Next to the paper", "",
             *beside_the_paper(found, scores, grounds), "", reasons(found), ""]
    for ground in grounds:
        lines += ground_table([f for f in found if f.ground == ground], ground)
    return lines


def top1_table(found: list[Finding], grounds: list[str]) -> list[str]:
    variants = list(dict.fromkeys(f.variant for f in found))
    at = {(f.ground, f.variant): f.numbers["top1_accuracy"] for f in found}
    kinds = {variant.split()[0].rstrip(","): variant for variant in reversed(variants)}  # one router each
    return markdown(["router", *grounds],
                    [[kind, *(shown(at[ground, variant]) for ground in grounds)] for kind, variant in kinds.items()])


def beside_the_paper(found: list[Finding], scores: Scores, grounds: list[str]) -> list[str]:
    base = next(f.numbers["top1_accuracy"] for f in found if (f.ground, f.variant) == ("gsm8k", RACER_P))
    rows = [["base router, % right", f"about {PUBLISHED_BASE}", shown({k: 100 * v for k, v in base.items()}, 1)]]
    for f in found:
        if f.ground == "gsm8k" and f.alpha == PUBLISHED_ALPHA and "RACER-P" in f.variant:
            size = f.numbers["size"]
            covers = "covers it" if size["low"] <= PUBLISHED_SIZE <= size["high"] else "does not cover it"
            rows.append([f"models asked at alpha {f.alpha:g}: {f.variant}, {f.method}", f"about {PUBLISHED_SIZE}",
                         f"{shown(size, 2)} ({covers})"])
    lines = [*markdown(["GSM8K", "the paper", "here"], rows), ""]
    pool, train = np.isin(scores.split, ("calibration", "test")), scores.of_split("train")
    best, at = int(train.outcomes.mean(axis=0).argmax()), []
    for ground in grounds:
        of, y = train.outcomes[train.task == ground], scores.outcomes[pool & (scores.task == ground)]
        at.append([ground, f"{AGGREGATED[ground]}" if ground in AGGREGATED else "-", percent(y[:, best]),
                   percent(y[:, int(of.mean(axis=0).argmax())]), percent(y.any(axis=1))])
    return lines + markdown(["% right, all calibration and test rows", "the paper, aggregated", "best model on train",
                             "best model of this test set on train", "any of the seven models"], at)


def reasons(found: list[Finding]) -> str:
    """Return the prose with how often the observed risk exceeded alpha, by method, over the rows of the tables."""
    told = {}
    for method in ("crc", "pac"):
        above = [f.above_alpha for f in found if f.method == method and f.above_alpha is not None]
        told |= {method: f"{min(above):.0%} to {max(above):.0%}".replace("%", " %"),
                 f"{method}_median": f"{np.median(above):.0%}".replace("%", " %")}
    return REASONS.format(**told)


def ground_table(found: list[Finding], ground: str) -> list[str]:
    methods = list(dict.fromkeys(f.method for f in found))
    rows = []
    for key in dict.fromkeys((f.variant, f.alpha) for f in found):
        same = {f.method: f for f in found if (f.variant, f.alpha) == key}
        cells = []
        for method in methods:
            f = same[method]
            cells += [*(shown(f.numbers[name], 2 if name == "size" else 3) for name in SETS),
                      "-" if f.above_alpha is None else f"{f.above_alpha:.2f}"]
        rows.append([key[0], f"{key[1]:g}", *cells])
    header = [f"{method}: {name}" for method in methods
              for name in ("misrouting", "models asked", "abstained", "above")]
    sizes = f"{found[0].calibration} calibration and {found[0].test} test queries in each split"
    return [f"## {ground}", "", f"{sizes}; \"above\" is the share of splits whose observed risk exceeds alpha.", "",
            *markdown(["sets", "alpha", *header], rows), ""]


def percent(right: np.ndarray) -> str:
    return shown({k: 100 * v for k, v in intervals.share(right).items()}, 1)


if __name__ == "__main__":
    with cli.clear_errors():
        main()

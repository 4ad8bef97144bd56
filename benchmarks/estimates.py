"""What makes the estimates better, and what does not: one change of the head's settings at a time.

    RACER_DATA=FOLDER python benchmarks/estimates.py

Writes `docs/estimates.md`: likelihood on rows that trained nothing (calibration and test). Minutes, once the queries
are embedded.
"""

from document import markdown
from routers import ROOT, TABLES, how_good, trained
from tqdm import tqdm

from racer import cli

VARIANTS = {"as it is": [], "one network": ["head.members=1"], "eight networks": ["head.members=8"],
            "no neighbours": ["head.neighbours=false"],
            "one network, no neighbours": ["head.members=1", "head.neighbours=false"],
            "dropout .3": ["head.dropout=0.3"], "linear": ["head.hidden=0"], "1024 wide": ["head.hidden=1024"],
            "slower: lr 3e-4, decay .01": ["train.lr=3e-4", "train.weight_decay=0.01"]}


def main() -> None:
    lines = ["# What makes the estimates better", "",
             "Made by `python benchmarks/estimates.py` with `$RACER_DATA` set: "
             "the latent head on frozen all-MiniLM-L6-v2, one setting changed at a time, one seed. Losses are on the "
             "calibration and test rows, in nats; less is better. They are for looking: the defaults were chosen with "
             "an eye on such numbers, which flatters the first row a little.", ""]
    for table, extra in TABLES.items():
        rows = []
        for name, overrides in tqdm(VARIANTS.items(), desc=table, unit="variant"):
            found = how_good(trained(table, f"latent-{name.replace(' ', '_')}", [*extra, *overrides]))
            rows.append([name, *(f"{value:.4f}" for value in found.values())])
        lines += [f"## {table}", "", *markdown(["latent head", *found], rows), ""]
    (ROOT / "docs" / "estimates.md").write_text("\n".join(lines))


if __name__ == "__main__":
    with cli.clear_errors():
        main()

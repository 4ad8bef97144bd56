"""The embedded table of real outcomes, from a collection of the local pool.

    python benchmarks/local_outcomes.py FOLDER

FOLDER is what `scripts/collect.py` wrote when docs/your_own_pool.md was followed. Writes `racer/local/outcomes`, the
same outcomes with a card that says what they are. Splits are not stored: `data.split_seed` draws them.
"""

import sys
from dataclasses import replace
from pathlib import Path

from racer import formats
from racer.errors import TableError

OUT = Path(__file__).parents[1] / "racer" / "local" / "outcomes"
CARD = {
    "name": "local", "simulated": False,
    "description": "Real outcomes, collected by this project from eight models on one machine: Gemma 3 270M (base, "
                   "Q4_K_M) with three few-shot prompts, four programs, and a sentence encoder that answers by "
                   "likeness. The queries are public facts and drawn questions, written by the project. Small models "
                   "and easy questions: it shows how routing works, not how good large models are.",
    "prices": "made up, in proportion to the seconds of an answer (conf/pools/local.yaml)",
    "tokens": "of the programs: words",
    "confidence": "of gemma-*: the likelihood of the whole reply, the token that ended it included",
    "licence": "Queries, facts and programs are the project's. The answers of gemma-* are outputs of Gemma: by section "
               "3.3 of the Gemma Terms of Use (ai.google.dev/gemma/terms) Google claims no rights in outputs, and "
               "their use is the user's responsibility. No weights are in here; those are under these terms."}


def main(folder: str) -> None:
    table = formats.read(folder)
    if table.answers is None or table.complete_cost() is None:
        raise TableError(f"{folder}: answers or costs are missing: collect again until nothing is")
    replace(table, card=table.card | CARD).save(OUT)
    size = sum(path.stat().st_size for path in OUT.iterdir())
    print(f"written: {OUT}, {len(table.ids)} queries, {len(table.models)} models, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(*sys.argv[1:])

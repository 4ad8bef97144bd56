"""Which queries of different splits are nearly the same text: a model trained on one has seen the other.

Texts are compared without case, spacing and punctuation. Nearly the same are texts whose 3-word
shingles (a Chinese or Japanese character counts as a word) agree to a TF-IDF weighted cosine of
.9, and whose numbers are the same: "has 12 apples" and "has 13 apples" are two questions.
Shingles in more than 1 % of the texts (and more than 20) are left out, since a shared few-shot
prefix or template says nothing; so are texts that keep fewer than 4 shingles.
"""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from racer.errors import ConfigError, TableError
from racer.table import OOD, SPLITS, OutcomeTable

ALIKE = 0.9
COMMON = (0.01, 20)  # share of texts, and number of texts, that a telling shingle is in at most
FEWEST = 4  # shingles that a text must keep to be compared
BLOCK = 4096  # texts per block of the sparse product
ORDER = (*SPLITS, OOD)
MAY_DROP = ("train", "validation")  # calibration and test stay whole: they must be exchangeable
WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+|[+*/^=<>%]|-(?=\s*\d)")


@dataclass(frozen=True)
class Pairs:
    """Rows that are nearly the same text, `row_a` (p,) in an earlier group than `row_b` (p,)."""

    row_a: np.ndarray
    row_b: np.ndarray
    similarity: np.ndarray  # (p,) in [.9, 1]; 1 where the normalised texts are equal


def find(queries: np.ndarray, groups: np.ndarray) -> Pairs:
    """Return the near-duplicates across groups, sorted by `row_a`.

    `queries` (n,) are texts, `groups` (n,) integers, smaller is earlier. Every `row_a` is listed;
    where a text comes more than once in the later group, its first row stands for all.
    """
    words = [WORDS.findall(unicodedata.normalize("NFKC", text).casefold()) for text in queries]
    keys = [" ".join(w) or text for w, text in zip(words, queries, strict=True)]
    rows_of = defaultdict(list)  # (normalised text, group) -> rows
    for row, where in enumerate(zip(keys, groups.tolist(), strict=True)):
        rows_of[where].append(row)
    heads = np.array([rows[0] for rows in rows_of.values()], dtype=np.int64)  # one row per text and group
    found = _similar([words[i] for i in heads], groups[heads]) | _equal([keys[i] for i in heads], groups[heads])
    repeats = list(rows_of.values())
    pairs = sorted((row, repeats[b][0], s) for (a, b), s in found.items() for row in repeats[a])
    row_a, row_b, similarity = np.array(pairs, dtype=np.float64).reshape(-1, 3).T
    return Pairs(row_a.astype(np.int64), row_b.astype(np.int64), similarity)


def across_splits(table: OutcomeTable, mode: str = "report") -> OutcomeTable:
    """Return the table with a note on near-duplicates between its splits.

    `mode="report"` changes no rows; `mode="drop"` removes the train and validation rows that
    nearly repeat a calibration, test or ood row. Calibration and test rows are never removed.
    """
    if mode not in ("report", "drop"):
        raise ConfigError(f"near-duplicates: mode is {mode!r}, expected 'report' or 'drop'")
    if unknown := set(table.split) - set(ORDER):
        raise TableError(f"near-duplicates: splits are {', '.join(map(repr, sorted(unknown)))}, expected only "
                         f"{', '.join(ORDER)}: assign them first, with `racer.splits.assign`")
    groups = np.array([ORDER.index(s) for s in table.split])
    pairs = find(table.queries, groups)
    notes = (*table.notes, *_counts(table, pairs))
    if mode == "report" or not len(pairs.row_a):
        return replace(table, notes=notes)
    held = groups[pairs.row_b] >= len(MAY_DROP)
    gone = np.unique(pairs.row_a[held & (groups[pairs.row_a] < len(MAY_DROP))])
    keep = np.ones(len(table.ids), dtype=bool)
    keep[gone] = False
    notes += (f"{len(gone)} train and validation rows dropped: near-duplicates of calibration, test or ood rows",)
    return replace(table.take(keep), notes=notes)


def _counts(table: OutcomeTable, pairs: Pairs) -> list[str]:
    """Return a sentence per pair of splits that share texts."""
    between = defaultdict(list)
    for a, b in zip(pairs.row_a, pairs.row_b, strict=True):
        between[table.split[a], table.split[b]].append((table.ids[a], table.ids[b]))
    return [f"near-duplicates: {len({a for a, _ in found})} {split_a} rows of {split_b} rows, such as "
            f"{'; '.join(f'{a} ~ {b}' for a, b in found[:3])}" for (split_a, split_b), found in between.items()]


def _equal(keys: list[str], groups: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the pairs (earlier, later) of equal keys, each with similarity 1."""
    rows_of = defaultdict(list)
    for i in np.argsort(groups, kind="stable").tolist():
        rows_of[keys[i]].append(i)
    return {(a, b): 1.0 for rows in rows_of.values() for k, a in enumerate(rows) for b in rows[k + 1:]}


def _similar(words: list[list[str]], groups: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the pairs (earlier, later) of similar shingles and equal numbers."""
    vectors = _vectors(words)  # (r, F) rows of length 1, or 0 where too little is left
    reach = _reach(vectors)
    codes = {}  # the numbers in a text -> their code
    numbers = [tuple(sorted(w for w in text if w[0].isdigit())) for text in words]
    numbers = np.array([codes.setdefault(n, len(codes)) for n in numbers])
    found = {}
    for start in range(0, len(words), BLOCK):
        a, b = (reach[start:start + BLOCK] @ reach.T).nonzero()
        a = a + start
        candidate = (groups[a] < groups[b]) & (numbers[a] == numbers[b])
        a, b = a[candidate], b[candidate]
        cosine = np.asarray(vectors[a].multiply(vectors[b]).sum(axis=1)).ravel()
        alike = cosine >= ALIKE
        pairs = zip(a[alike].tolist(), b[alike].tolist(), strict=True)
        found |= dict(zip(pairs, np.minimum(cosine[alike], 1).tolist(), strict=True))
    return found


def _vectors(words: list[list[str]]):
    """Return TF-IDF vectors of telling shingles, sparse (r, F), columns from rare to common."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashing = HashingVectorizer(analyzer=_shingles, n_features=2**22, alternate_sign=False, norm=None, binary=True)
    counts = hashing.transform(words).tocsc()
    present = np.diff(counts.indptr)  # (F,) texts per shingle
    telling = np.flatnonzero((present > 0) & (present <= max(COMMON[0] * len(words), COMMON[1])))
    counts = counts[:, telling[np.argsort(present[telling], kind="stable")]].tocsr()
    counts = counts.multiply(np.diff(counts.indptr)[:, None] >= FEWEST).tocsr()
    counts.eliminate_zeros()
    return TfidfTransformer().fit_transform(counts) if telling.size else counts


def _shingles(words: list[str]) -> list[str]:
    return [" ".join(words[i:i + 3]) for i in range(len(words) - 2)]


def _reach(vectors):
    """Return the rare columns of every row without which no cosine reaches ALIKE, as a 0/1 matrix.

    Let f be the rarest shingle that x and y share. If what x has from f on is shorter than
    ALIKE, so is the cosine; hence f lies in the reach of both, or the pair is not alike.
    """
    vectors.sort_indices()
    before = np.concatenate([[0.0], np.cumsum(vectors.data**2)])
    start = np.repeat(before[vectors.indptr[:-1]], np.diff(vectors.indptr))
    rest = 1 - (before[:-1] - start)  # squared length of the row from this entry on
    reach = vectors.copy()
    reach.data = (rest >= ALIKE**2 - 1e-6).astype(np.float64)
    reach.eliminate_zeros()
    return reach

"""Near-duplicates: same texts are found, templates and shared prefixes are not, held-out rows stay."""

import itertools

import numpy as np
import pytest

from racer import near_duplicates
from racer.errors import ConfigError, TableError
from racer.formats import read
from racer.near_duplicates import across_splits, find
from racer.splits import assign
from racer.table import OutcomeTable

LONG = "A train leaves the old station at dawn and crosses the wide river before the town wakes up to a bright morning"


def pairs(texts: list[str], groups: list[int]) -> list[tuple[int, int]]:
    found = find(np.array(texts, dtype=object), np.array(groups))
    return list(zip(found.row_a.tolist(), found.row_b.tolist(), strict=True))


def test_case_spacing_and_punctuation_do_not_tell_texts_apart():
    assert pairs(["What is  DNA?", "other text", "what is “dna” ?"], [0, 0, 1]) == [(0, 2)]


def test_pairs_run_from_the_earlier_group_to_the_later():
    assert pairs(["same", "same", "same"], [2, 0, 1]) == [(1, 0), (1, 2), (2, 0)]
    assert pairs(["same", "same"], [1, 1]) == []


def test_every_repeat_in_the_earlier_group_is_listed_once_per_later_group():
    assert pairs(["same", "same", "same", "same"], [0, 0, 1, 1]) == [(0, 2), (1, 2)]


def test_one_word_added_to_a_long_text_is_near():
    found = find(np.array([LONG, LONG + " outside"], dtype=object), np.array([0, 3]))
    assert found.row_a.tolist() == [0] and found.row_b.tolist() == [1]
    assert 0.9 <= found.similarity[0] < 1


@pytest.mark.parametrize("a, b", [
    ("Sam has 12 apples", "Sam has 13 apples"),
    (LONG + " on 12 May", LONG + " on 13 May"),
    ("3 + 4 = ?", "3 - 4 = ?"),
    ("", "!"),
    ("The cat sat on the mat today", "The dog sat on the mat today"),
    ("北京是中国的首都吗", "上海是中国的首都吗"),
])
def test_other_questions_are_not_near(a, b):
    assert pairs([a, b], [0, 1]) == []


def test_chinese_characters_are_words():
    text = "下列关于沥青面层压实度的说法中正确的是哪一项请选择最合适的答案"
    assert pairs([text, text + "吧"], [0, 1]) == [(0, 1)]


def test_a_shared_prefix_does_not_make_texts_alike():
    rng = np.random.default_rng(0)
    tails = [" ".join(f"w{i}" for i in rng.choice(5000, 12, replace=False)) for _ in range(60)]
    assert pairs([f"{LONG} {tail}" for tail in tails], [0, 1] * 30) == []
    twins = [f"{LONG} {tail}" for tail in tails] + [f"{LONG}, {tails[0]}!"]
    assert pairs(twins, [0, 1] * 30 + [1]) == [(0, 60)]


def test_the_rare_shingles_find_all_that_a_comparison_of_all_pairs_finds(monkeypatch):
    """Against every cosine of the same vectors; blocks smaller than the data."""
    monkeypatch.setattr(near_duplicates, "BLOCK", 7)
    rng = np.random.default_rng(0)
    base = [[f"w{i}" for i in rng.choice(300, 30)] for _ in range(25)]
    texts = [[w if rng.random() > rate else "other" for w in words] for words in base for rate in (0, 0.01, 0.02, 0.05)]
    groups = rng.integers(0, 3, len(texts))
    vectors = near_duplicates._vectors(texts).toarray()
    cosine = vectors @ vectors.T
    slow = {(a, b) for a, b in itertools.product(range(len(texts)), repeat=2)
            if groups[a] < groups[b] and cosine[a, b] >= 0.9}
    fast = near_duplicates._similar(texts, groups)
    assert 10 < len(slow) == len(fast) and slow == set(fast)
    assert all(abs(s - cosine[pair]) < 1e-9 for pair, s in fast.items())


@pytest.fixture
def table() -> OutcomeTable:
    """One text in train, validation, calibration and test, a second in train and ood, and two that are alone."""
    queries = ["same text", "same text", "same text", "same text", "far away", "Far away!", "alone", "single"]
    split = ["train", "validation", "calibration", "test", "train", "ood", "train", "test"]
    columns = {name: np.array(values, dtype=object) for name, values in
               {"ids": list("abcdefgh"), "queries": queries, "split": split, "task": ["x"] * 8}.items()}
    return OutcomeTable(**columns, models=("a", "b"), scores=np.zeros((8, 2)))


def test_report_changes_no_row_and_counts_pairs_of_splits(table):
    told = across_splits(table)
    assert told.ids.tolist() == table.ids.tolist()
    assert len(told.notes) == 7
    assert "near-duplicates: 1 calibration rows of test rows, such as c ~ d" in told.notes


def test_drop_removes_only_train_and_validation_rows(table):
    left = across_splits(table, "drop")
    assert left.ids.tolist() == ["c", "d", "f", "g", "h"]
    assert left.notes[-1].startswith("3 train and validation rows dropped")


def test_nothing_found_says_nothing(table):
    assert across_splits(table.take(np.array([6, 7])), "drop").notes == ()


def test_wrong_mode_and_unassigned_splits_are_refused(table):
    with pytest.raises(ConfigError, match=r"mode is 'remove', expected 'report' or 'drop'"):
        across_splits(table, "remove")
    table.split[0] = ""
    with pytest.raises(TableError, match=r"assign them first"):
        across_splits(table)


def test_routerdc_repeats_few_questions(racer_data):
    table = assign(read(racer_data / "routerdc"))
    left = across_splits(table, "drop")
    for split in ("calibration", "test", "ood"):
        assert len(left.rows(split)) == len(table.rows(split))
    assert 17 <= len(table.ids) - len(left.ids) <= 40

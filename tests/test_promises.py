"""Promises of answers: p-values by hand, the laws they rest on, and what is asked for in vain."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from worlds import world

from racer import promises
from racer.bounds import p_value
from racer.errors import ConfigError
from racer.policy import Played
from racer.promises import Tally, above_by_chance, p_values, rough_p_values


def binomial_cdf(e: int, m: int, level: Fraction) -> float:
    return float(sum(comb(m, k) * level**k * (1 - level)**(m - k) for k in range(e + 1)))


@pytest.fixture(scope="module")
def rows():
    return world(n=12, seed=0, train=20, validation=0).of_split("calibration")


def played(rows, answered, right, share):
    """Policies that do this, one per column."""
    n, t = answered.shape
    model = np.where(answered, 0, -1)
    return Played(np.ones((n, t), dtype=int), model, answered.astype(float), answered, right, share * 1e-3, share)


def test_p_values_by_hand(rows):
    rng = np.random.default_rng(1)
    answered = rng.random((12, 3)) < np.array([0.9, 0.5, 0.0])
    right, share = answered & (rng.random((12, 3)) < 0.6), rng.random((12, 3)) * 0.3
    tally = Tally.of(played(rows, answered, right, share), rows, keep_shares=True)
    levels = {"error_among_answered": 0.25, "over_abstention": 0.5, "cost": 0.4, "harm": 0.125}
    p = p_values(tally, levels)
    solvable, reference = rows.scores.outcomes.any(axis=1), rows.scores.outcomes[:, rows.reference]
    for k in range(3):
        m = int(answered[:, k].sum())
        wrong = int((answered[:, k] & ~right[:, k]).sum())
        over = int((~answered[:, k] & solvable).sum())
        harm = int((reference & ~right[:, k]).sum())
        expected = [binomial_cdf(wrong, m, Fraction(1, 4)), binomial_cdf(over, 12, Fraction(1, 2)),
                    p_value(share[:, k], 0.4, "wsr"), binomial_cdf(harm, 12, Fraction(1, 8))]
        assert p[k] == pytest.approx(expected, rel=1e-12)
        observed = [tally.observed(name)[k] for name in levels]
        assert observed == pytest.approx([wrong / m if m else np.nan, over / 12, share[:, k].mean(), harm / 12],
                                         nan_ok=True)
    assert p[2, 0] == 1.0  # nobody was answered: nothing is known of the answers
    rough = rough_p_values(tally, levels)
    assert np.array_equal(rough[:, [0, 1, 3]], p[:, [0, 1, 3]]) and (rough[:, 2] < 0.01).all()


def test_no_rows_say_nothing(rows):
    none = rows.take(np.array([], dtype=int))
    empty = np.zeros((0, 2), dtype=bool)
    tally = Tally.of(played(none, empty, empty, empty.astype(float)), none, keep_shares=True)
    assert (p_values(tally, {"error_among_answered": 0.5, "cost": 0.5, "harm": 0.5}) == 1).all()


def test_one_policy_of_a_tally_and_tallies_put_together(rows):
    answered = np.array([[True, False]] * 12)
    tally = Tally.of(played(rows, answered, answered, answered * 0.5), rows)
    again = Tally.together([tally.take([0]), tally.take([1])])
    assert again.n == 12 and again.answered.tolist() == tally.answered.tolist() == [12, 0]
    assert again.cost.tolist() == [0.5, 0.0] and again.harm.tolist() == tally.harm.tolist()


def test_the_chance_of_showing_more_than_the_level_by_hand(rows):
    """At delta .1 and level .3, 3 of 12 errors are too many (.49), 1 too (.085 for 1: just allowed)."""
    answered = np.ones((12, 1), dtype=bool)
    tally = Tally.of(played(rows, answered, answered, answered * 0.5), rows)
    assert binomial_cdf(1, 12, Fraction(3, 10)) < 0.1 < binomial_cdf(2, 12, Fraction(3, 10))
    j, n, m = 1, 12, 5
    law = [Fraction(comb(j + k, k) * comb(n - j - 1 + m - k, m - k), comb(n + m, m)) for k in range(m + 1)]
    assert sum(law) == 1
    above = float(sum(law[2:]))  # 2 of 5 are more than .3
    assert above_by_chance(tally, "error_among_answered", 0.3, 0.1, m) == pytest.approx(above, rel=1e-9)
    assert above_by_chance(tally, "cost", 0.3, 0.1, m) is None
    assert above_by_chance(tally, "harm", 0.01, 0.1, m) is None and above_by_chance(tally, "harm", 0.3, 0.1, 0) is None


@pytest.mark.parametrize(("asked", "said"), [({}, "at least one"), ({"harm": 0.0}, "between 0 and 1"),
                                             ({"cost": 1.0}, "between 0 and 1"), ({"speed": 0.1}, "unknown")])
def test_promises_that_cannot_be_meant(rows, asked, said):
    with pytest.raises(ConfigError, match=said):
        promises.check(asked, rows)


def test_promises_that_the_rows_cannot_speak_of():
    unpriced = world(n=5, seed=0, priced=False, train=0)
    with pytest.raises(ConfigError, match=r"promises\.cost needs the cost"):
        promises.check({"cost": 0.5}, unpriced)
    with pytest.raises(ConfigError, match=r"promises\.harm needs the best single"):
        promises.check({"harm": 0.5}, unpriced)

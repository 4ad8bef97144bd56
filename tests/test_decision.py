"""Who comes next when a member fails."""

from dataclasses import asdict, replace

import numpy as np

from racer.artifact import Artifact
from racer.bounded import EVERYTHING
from racer.config import RiskConfig
from racer.conformal import Calibration
from racer.decision import decide
from racer.estimate import Estimate
from racer.risk import Risk
from racer.rule import SetRule

MODELS = ("a", "b", "c", "d")
P = np.array([[0.2, 0.9, 0.5, 0.7]])
RULE = SetRule("probability", "free", prices=(1.0, 2.0, 3.0, 4.0))


def decision(cut=EVERYTHING, **rule):
    calibration = Calibration("pac", 0.1, 0.1, cut, 100, 1, 1, 0.1)
    artifact = Artifact(replace(RULE, **rule), Risk.of(asdict(RiskConfig())), calibration, MODELS, {})
    return decide(Estimate(P), artifact)[0]


def test_spares_go_on_in_the_order_of_the_members():
    assert decision().members == ("b", "d", "c", "a") and decision().spares == ()
    found = decision(cut=0.35)  # s = 1 - p
    assert found.members == ("b", "d") and found.spares == ("c", "a")


def test_a_limit_on_size_leaves_spares_in_the_greedy_order():
    """Past the limit all s are +inf; the order among these must not become that of the columns."""
    found = decision(max_size=1)
    assert found.members == ("b",) and found.spares == ("d", "c", "a")
    assert replace(found, spares=()) != found and decision(cut=-np.inf, max_size=2).spares == ("b", "d", "c", "a")


def test_a_set_with_its_spares_keeps_the_limit_on_cost():
    found = decision(max_cost=6.0, max_size=1)  # b and d cost 6, then c is too dear
    assert found.members == ("b",) and found.spares == ("d",)
    assert decision(max_cost=1.5).members == () and decision(max_cost=1.5).spares == ()

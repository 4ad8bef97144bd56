"""Who comes next when a member fails."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from racer.artifact import Artifact
from racer.bounded import EVERYTHING
from racer.calibrations import ByGroup, Online
from racer.certificate import Certificate
from racer.config import RiskConfig
from racer.conformal import Calibration, calibrate
from racer.consult import Consultation, Form
from racer.decision import decide
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.group import calibrate_groups
from racer.online import online_level
from racer.policy import Policy, Track
from racer.risk import Risk
from racer.rule import SetRule
from racer.votes import Majority

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


@pytest.mark.parametrize("for_this_router", [True, False])
@pytest.mark.parametrize(("kind", "expected"), [
    ("count", [True] * 4), ("group", [True, False, False, False]), ("online", [False] * 4)])
def test_a_decision_is_certified_where_the_calibration_promises_anything(kind, expected, for_this_router):
    served, groups = np.linspace(0, 1, 100), np.repeat(["logic", "rare"], [95, 5])
    calibration = {"count": calibrate(served, 0.2), "online": Online.of(online_level(served, 0.2, 0.01)),
                   "group": ByGroup.of(calibrate_groups(served, groups, 0.2), "task")}[kind]
    artifact = Artifact(RULE, Risk.of(asdict(RiskConfig())), calibration, MODELS, {})
    known = {"task": ["logic", "rare", "lgoic", None]}
    found = [d.certified for d in decide(Estimate(np.repeat(P, 4, axis=0)), artifact, known, for_this_router)]
    assert found == [one and for_this_router for one in expected] and all(type(one) is bool for one in found)


def consultation(calling="parallel", only=None, size=2, threshold=0.0):
    policy = Policy(Track(RULE, only), EVERYTHING, size, "majority", calling, threshold)
    certificate = Certificate(policy, Majority(), {}, 0.1, MODELS, {}, {})
    return Consultation(certificate, Estimate(P), Form("text", 0))


@pytest.mark.parametrize("calling", ["parallel", "settled", "sequential"])
@pytest.mark.parametrize("by", MODELS[:1] + MODELS[2:3])
def test_who_takes_anothers_place_is_called_last_and_votes(calling, by):
    found = consultation(calling)
    while found.next:
        found.tell(dict.fromkeys(found.next))  # nobody has an answer
    assert found.answer.abstain
    found.substitute("d", by)
    assert found.next == (by,) and found.answer is None
    found.tell({by: "Paris"})
    assert found.answer.answer == "Paris" and found.answer.called == ("b", "d", by)


def test_beside_one_model_alone_another_takes_its_place_by_name():
    """All but that model have s = +inf there, so that only membership tells them apart."""
    found = consultation("sequential", only=2, size=1)
    assert found.next == ("c",)
    found.tell({"c": None})
    found.substitute("c", "d")
    assert found.next == ("d",)
    found.tell({"d": "x"})
    assert found.answer.answer == "x"


@pytest.mark.parametrize("failed, by", [("b", "d"), ("a", "c")])
def test_only_a_member_leaves_its_place_to_one_that_is_none(failed, by):
    with pytest.raises(ConfigError, match=f"{by} cannot take the place of {failed}"):
        consultation().substitute(failed, by)


@pytest.mark.parametrize("calling", ["parallel", "settled", "sequential"])
def test_a_vote_is_about_who_took_the_place_and_not_about_who_failed(calling):
    """As a lost answer it would leave two of four, and nothing could win any more."""
    found = consultation(calling, size=3, threshold=0.9)
    replaced, spare = {"b": "a"}, iter("a")
    while found.next:
        names = found.next
        found.tell({name: None if name in replaced else "Paris" for name in names})
        for name in set(names) & set(replaced):
            found.substitute(name, next(spare))
    assert (found.answer.answer, found.answer.confidence) == ("Paris", 1.0) and len(found.answer.called) == 4

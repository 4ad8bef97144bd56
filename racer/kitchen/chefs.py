"""Who the chefs are, when they are right, what they say when wrong, and how long they talk."""

from dataclasses import dataclass, field

import numpy as np

from racer.kitchen.menu import LEVELS, SKILLS


@dataclass(frozen=True)
class Chef:
    """One simulated model. The three numbers after the prices are log-odds."""

    name: str
    usd_per_1m_input: float
    usd_per_1m_output: float
    talent: float  # at everything
    strain: float  # lost per standard deviation of difficulty
    mood: float  # gained per unit of z, the part of a query's difficulty that its text does not show
    tokens: float  # in a reply of middling difficulty
    gifts: dict[str, float] = field(default_factory=dict)  # skill -> log-odds on top


CHEFS = (
    Chef("commis-3b", 0.05, 0.05, -0.70, 1.4, 1.6, 110, {"nature": 0.9, "arithmetic": 0.7, "units": 0.5}),
    Chef("saucier-7b", 0.1, 0.1, -0.70, 1.3, 1.6, 190,
         {"arithmetic": 2.0, "percentages": 2.5, "rates": 2.1, "units": 0.6}),
    Chef("patissier-8b", 0.1, 0.2, -0.70, 1.6, 1.9, 130,
         {"dates": 2.1, "clock": 2.3, "units": 2.1, "percentages": 0.5}),
    Chef("butcher-13b", 0.2, 0.3, -0.65, 1.5, 1.8, 120, {"letters": 2.1, "reversal": 1.8, "code": 2.5, "truth": 0.6}),
    Chef("sommelier-34b", 0.6, 0.8, -0.50, 1.3, 1.7, 90, {"geography": 2.1, "science": 1.9, "nature": 1.6}),
    Chef("sous-chef-70b", 0.9, 1.2, -0.05, 1.5, 2.0, 130, {"ordering": 0.8, "truth": 0.7, "syllogism": 0.8}),
    Chef("executive-chef", 5.0, 15.0, 0.95, 1.6, 1.9, 150, {"ordering": 0.4, "syllogism": 0.4, "code": 0.3}),
)

EASE = {  # log-odds for every chef; spelling is hard for those who read in tokens
    "arithmetic": 0.4, "percentages": -0.2, "rates": 0.0, "dates": -0.4, "clock": 0.0, "units": 0.1, "letters": -0.5,
    "reversal": -0.9, "code": 0.1, "ordering": 0.2, "truth": -0.2, "syllogism": 0.3, "geography": 0.5, "science": 0.4,
    "nature": 0.5,
}
SPEECHLESS = 0.18  # share of wrong replies without an answer
TEMPTED = 0.4  # share of the other wrong replies that give the query's tempting answer


def outcomes(rng: np.random.Generator, skill: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return which chefs are right, (n, M) bool, for skills (n,) and levels (n,).

    P(right | z) = sigmoid(ease + talent + gift - strain * difficulty + mood * z) with z ~ N(0, 1) per query and
    difficulty the standardised level. Independent given z: what errors share, they share through skill, level and z.
    A 2-parameter item response model, the form that the latent head fits.
    """
    n = len(level)
    gifts = np.array([[EASE[s] + c.talent + c.gifts.get(s, 0.0) for c in CHEFS] for s in SKILLS])  # (skills, M)
    difficulty = (level - (LEVELS - 1) / 2) / np.sqrt((LEVELS**2 - 1) / 12)  # (n,) mean 0, variance 1
    log_odds = gifts[skill] - np.outer(difficulty, [c.strain for c in CHEFS])  # (n, M)
    log_odds += np.outer(rng.standard_normal(n), [c.mood for c in CHEFS])
    return rng.logistic(size=(n, len(CHEFS))) < log_odds


def replies(rng: np.random.Generator, right: np.ndarray, gold: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return the answers (n, M), None where there is none, from gold (n,) and the wrong answers to choose from.

    `wrong` (n, K) holds each query's mistakes, the tempting one first, padded with None. Wrong chefs meet at the
    tempting answer, so a majority can be out-voted by a shared mistake.
    """
    menu = np.column_stack([gold, wrong, np.full(len(gold), None)])  # (n, 1 + K + 1)
    known = np.not_equal(wrong, None).sum(axis=1, keepdims=True)  # (n, 1)
    choice = 1 + (rng.random(right.shape) * known).astype(np.intp)  # (n, M) any of the mistakes
    choice[rng.random(right.shape) < TEMPTED] = 1
    choice[rng.random(right.shape) < SPEECHLESS] = menu.shape[1] - 1
    choice[right] = 0
    return np.take_along_axis(menu, choice, axis=1)


def reply_lengths(rng: np.random.Generator, level: np.ndarray) -> np.ndarray:
    """Return the tokens of each reply, (n, M) whole numbers >= 1: longer for harder queries, and skewed."""
    effort = 0.5 + level / (LEVELS - 1)  # (n,) mean 1
    spread = np.exp(0.4 * rng.standard_normal((len(level), len(CHEFS))) - 0.08)  # mean 1
    return np.maximum(1.0, np.rint(np.outer(effort, [c.tokens for c in CHEFS]) * spread))

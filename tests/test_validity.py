"""The benchmark of validity: its worlds have the risks they say, and a promise that is broken is said."""

from pathlib import Path

import numpy as np
import pytest

from racer.steps import Steps

ROOT, N = Path(__file__).parents[1], 40_000


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import validity
    from trials import counts, report, worlds
    return validity, counts, report, worlds


def near(found: np.ndarray | float, risk: np.ndarray | float) -> bool:
    """Within 4.5 standard errors of a mean of N numbers in [0, 1]."""
    risk = np.asarray(risk)
    return np.all(np.abs(found - risk) <= 4.5 * np.sqrt(np.maximum(risk * (1 - risk), 0) / N) + 1e-12)


def test_the_worlds_have_the_risks_they_say(benchmark):
    *_, worlds = benchmark
    rng = np.random.default_rng(1)
    for world in (*worlds.WORLDS, worlds.ALL_SAFE, worlds.NONE_SAFE):
        served = world.draw(rng, N)
        for cut in (-np.inf, 0.0, 0.37, 0.9, 1.0, 2.0, 4.5):
            assert near((served > cut).mean(), world.risk(cut)), (world.name, cut)
    for world in worlds.FALLING:
        steps = Steps(*world.draw(rng, N))
        assert all(near(steps.at(cut).mean(), world.risk(cut)) for cut in (-np.inf, 0.2, 0.8, 1.0)), world.name
        assert (np.diff(steps.levels, axis=1) <= 1e-12).all()
    for kind, draw in worlds.LOSSES.items():
        assert near(draw(rng, 0.2, (N, 1)).mean(), 0.2), kind
    for many in (worlds.mixed(), worlds.at_the_edge(0.1)):
        assert near(np.column_stack([x.mean(axis=0) for x in many.draw(rng, N)]), many.risks)
    shift = worlds.Shift()
    old, new = shift.features(rng, N, False), shift.features(rng, N, True)
    assert near((shift.served(rng, new) > 1.2).mean(), shift.risk(new, 1.2).mean())
    assert (shift.weights(old) * old[:, 0]).mean() == pytest.approx(new[:, 0].mean(), abs=0.1)


def test_a_broken_promise_is_marked_and_counted(benchmark):
    validity, _, report, _ = benchmark
    rng, found = np.random.default_rng(1), report.Report(100, None)
    assert "!" not in str(found.test("pac", 0.1, rng.random(400) < 0.1))
    assert "None lies more than 3 standard errors beyond it" in "\n".join(validity.opening(found))
    assert "!" in str(found.test("pac", 0.1, rng.random(400) < 0.2))
    assert "!" in str(found.test("crc", 0.1, 0.12 + 0.01 * rng.random(400)))
    assert "2 of the 3 lie more than 3 standard errors beyond it" in "\n".join(validity.opening(found))


def test_a_section_draws_tests_and_tells(benchmark):
    _, counts, report, _ = benchmark
    found = report.Report(30, type("Bar", (), {"update": lambda self: None})())
    counts.counts(found, np.random.default_rng(0))
    text = "\n".join(found.parts)
    assert "200 of 200" in text and "| no ties | 2000 |" in text and "!" not in text
    assert len(found.cells) > 100 and {cell.method for cell in found.cells} == {"crc", "pac"}

"""Online cuts: the update by a slow loop, the published bound on adversarial and drifting streams, partial feedback."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from racer.conformal import calibrate
from racer.errors import ConfigError
from racer.losses import least_cut, loss
from racer.online import ALL_MODELS, OnlineCut, loss_estimate, online_level
from racer.sets import select

STEPS = [(0.05, 0.0), (1.0, 0.0), (0.5, 0.6), (2.0, 0.9)]  # step, decay


def walk(state, served: np.ndarray, asked: np.ndarray | None = None):
    """What `run` should do, one update at a time: cuts (T,), losses (T,), the state after."""
    cuts, losses = [], []
    for t, s in enumerate(served.tolist()):
        cuts.append(state.cut)
        losses.append(s > state.cut)
        seen = losses[-1] if asked is None else losses[-1] * asked[t] / tracker_of(state).explore
        state = state.update(seen)
    return np.array(cuts), np.array(losses, dtype=bool), state


def tracker_of(state) -> OnlineCut:
    return state if isinstance(state, OnlineCut) else state.tracker


def streams(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """S in [-1, 1]: i.i.d., a drift, a jump, ties, long blocks at either end."""
    u = rng.random(length)
    return {"iid": 2 * u - 1, "drift": np.clip(np.linspace(-1, 1, length) + 0.1 * u, -1, 1),
            "jump": np.where(np.arange(length) < length // 2, -1 + 0.2 * u, 1 - 0.2 * u),
            "tied": np.round(2 * u) - 1, "low": np.full(length, -1.0), "high": np.full(length, 1.0),
            "blocks": np.where(np.arange(length) // 97 % 2 == 0, 1.0, -1.0)}


# ---------------------------------------------------------------- run is update, many times


@pytest.mark.parametrize("step, decay", STEPS)
def test_run_is_the_update_along_the_stream(step, decay):
    rng = np.random.default_rng(0)
    start = OnlineCut(0.25, 0.2, -1.0, 1.0, step, decay)
    level = online_level(np.round(rng.random(37), 1), 0.2, step, decay)
    limited = online_level(np.append(level.sample, np.full(11, np.inf)), 0.2, step, decay)  # more lost than alpha
    for name, served in {**streams(rng, 400), "of the sample": np.round(rng.random(400), 1)}.items():
        served = np.where(rng.random(400) < 0.05, np.inf, np.where(rng.random(400) < 0.05, -np.inf, served))
        for state in (start, level, limited):
            cuts, losses, after = walk(state, served)
            assert not (cuts == np.inf).any() and losses[served == np.inf].all()
            trace = state.run(served)
            assert trace.cuts == pytest.approx(cuts, rel=1e-9, abs=1e-9), name
            assert (trace.losses == losses).all() and trace.losses.dtype == bool
            assert trace.after.cut == pytest.approx(after.cut, rel=1e-9, abs=1e-9)
            tracked, walked = tracker_of(trace.after), tracker_of(after)
            assert tracked.errors == walked.errors == losses.sum()
            assert asdict(tracked) == pytest.approx(asdict(walked), rel=1e-9, abs=1e-9) and tracked.count == 400


def test_a_stream_in_two_halves_is_the_stream():
    served = np.random.default_rng(1).random(301)
    for state in (OnlineCut(0.5, 0.1, 0.0, 1.0, 0.3, 0.7), online_level(served, 0.1, 0.05, 0.7)):
        whole, first = state.run(served), state.run(served[:140])
        second = first.after.run(served[140:])
        assert np.concatenate([first.cuts, second.cuts]) == pytest.approx(whole.cuts, abs=1e-12)
        assert second.after.cut == pytest.approx(whole.after.cut, abs=1e-12)
        assert len(state.run([]).cuts) == 0 and tracker_of(state.run([]).after) == tracker_of(state)


def test_the_steps_by_hand():
    a = OnlineCut(0.5, 0.1, 0.0, 1.0, step=0.2)
    assert a.update(1).cut == pytest.approx(0.68) and a.update(0).cut == pytest.approx(0.48)
    assert a.update(1).update(1).update(0).cut == pytest.approx(0.5 + 0.18 + 0.18 - 0.02)
    b = OnlineCut(0.5, 0.1, 0.0, 1.0, step=0.2, decay=0.5)
    assert b.update(1).update(1).cut == pytest.approx(0.5 + 0.18 + 0.18 / math.sqrt(2))
    assert (a.update(1).count, a.update(1).errors, a.update(0).errors) == (1, 1, 0)


def test_the_state_survives_json():
    state = OnlineCut(0.5, 0.1, 0.0, 1.0, 0.2, 0.6).run(np.random.default_rng(2).random(50)).after
    assert OnlineCut(**json.loads(json.dumps(asdict(state)))) == state


# ---------------------------------------------------------------- adaptive conformal inference is the same on ranks


def test_the_level_by_its_definition():
    """The cut at rank r is the smallest S whose own rank k / (n + 1) is above r; everyone above the last."""
    sample = np.array([0.3, 0.1, 0.4, 0.4])
    state = online_level(sample, 0.5, 0.1)
    assert state.sample.tolist() == [0.1, 0.3, 0.4, 0.4]
    ranks = np.array([-0.01, 0, 0.19, 0.2, 0.39, 0.4, 0.6, 0.79, 0.8, 1.1])
    assert state._cuts(ranks).tolist() == [-np.inf, 0.1, 0.1, 0.3, 0.3, 0.4, 0.4, 0.4, ALL_MODELS, ALL_MODELS]


def test_the_level_begins_as_crc_or_one_above():
    for n in (9, 50, 99, 700):
        sample = np.random.default_rng(n).random(n)
        for alpha in (0.1, 0.13, 0.3):
            start, cut = online_level(sample, alpha, 0.01).cut, calibrate(sample, alpha, "crc").cut
            ladder = [*np.sort(sample).tolist(), ALL_MODELS]
            assert start in (cut, ladder[ladder.index(cut) + 1])
    assert online_level(np.zeros(5), 0.1, 0.01).cut == ALL_MODELS  # too few to promise .1


def test_all_models_is_not_everything():
    """The hard limits stay: a capped model has s = +inf."""
    assert select(np.array([[1e300, np.inf]]), ALL_MODELS).tolist() == [[True, False]]


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize("step, decay", STEPS)
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
def test_the_mean_loss_is_within_the_bound_of_alpha_at_every_time(step, decay, alpha):
    rng = np.random.default_rng(3)
    for name, served in streams(rng, 3000).items():
        time = np.arange(1, 3001)
        for state in (OnlineCut(-1.0, alpha, -1.0, 1.0, step, decay), online_level(rng.random(30), alpha, step, decay)):
            gap = np.abs(np.cumsum(state.run(served).losses) / time - alpha)
            assert (gap <= [tracker_of(state).bound(t) + 1e-12 for t in time.tolist()]).all(), name


@pytest.mark.parametrize("step, decay", STEPS)
@pytest.mark.parametrize("sign", [1, -1])
def test_an_adversary_who_sees_the_cut_cannot_break_the_bound(step, decay, sign):
    """It errs whenever it can, or never, in turns; S just above the cut or just at it."""
    state, total = OnlineCut(0.5, 0.2, 0.0, 1.0, step, decay), 0
    for t in range(1, 1500):
        hard = (t // 300 % 2 == 0) == (sign == 1)
        s = min(max(np.nextafter(state.cut, 2), 0.0), 1.0) if hard else max(min(state.cut, 1.0), 0.0)
        total += s > state.cut
        state = state.update(s > state.cut)
        assert abs(total / t - 0.2) <= state.bound(t) + 1e-12


def test_the_bound_is_nearly_reached():
    """From the top of the range, with no loss to see: the cut falls to the bottom before the first error."""
    state = OnlineCut(1.0, 0.1, 0.0, 1.0, 0.01)
    idle = int(1 / (0.01 * 0.1)) - 1
    gap = abs(state.run(np.zeros(idle)).losses.mean() - 0.1)
    assert 0.97 * state.bound(idle) < gap <= state.bound(idle)


def test_the_bound_by_hand():
    assert OnlineCut(0.0, 0.1, -1.0, 2.0, 0.5).bound(60) == pytest.approx(3.5 / (0.5 * 60))
    assert OnlineCut(0.0, 0.1, -1.0, 2.0, 0.5, 0.5).bound(100) == pytest.approx(3.5 / (0.05 * 100))
    assert OnlineCut(0.0, 0.1, -1.0, 2.0, 0.5, explore=0.25).bound(60) == pytest.approx(5 / (0.5 * 60))
    assert online_level(np.zeros(99), 0.1, 0.005).tracker.bound(1000) == pytest.approx((0.99 + 0.005) / 5)


def test_a_decaying_step_settles_at_the_quantile_and_a_constant_one_does_not():
    served = np.random.default_rng(4).random(40_000)
    settled = OnlineCut(0.0, 0.1, 0.0, 1.0, 1.0, 0.6).run(served).cuts[-2000:]
    restless = OnlineCut(0.0, 0.1, 0.0, 1.0, 0.2).run(served).cuts[-2000:]
    assert np.abs(settled - 0.9).max() < 0.03 < np.abs(restless - 0.9).max()


# ---------------------------------------------------------------- outside the range


def test_queries_served_by_the_empty_set_only_lower_the_loss():
    """S = -inf for most: the cut stays in its range, so a sudden hard stretch is met at once."""
    served = np.concatenate([np.full(4000, -np.inf), np.full(1000, 1.0)])
    for step, decay in STEPS:
        state = OnlineCut(1.0, 0.1, 0.0, 1.0, step, decay)
        trace = state.run(served)
        assert trace.cuts.min() >= -step * 0.1 - 1e-12
        assert trace.losses.mean() <= 0.1 + state.bound(5000)


def test_queries_that_nothing_serves_count_on_top_of_the_bound():
    rng = np.random.default_rng(5)
    served = np.where(rng.random(5000) < 0.3, np.inf, rng.random(5000))
    state = OnlineCut(0.5, 0.1, 0.0, 1.0, 0.1)
    trace = state.run(served)
    at_the_top = np.mean((served == np.inf) & (trace.cuts >= 1))
    assert trace.cuts.max() <= 1 + 0.1 * 0.9 + 1e-12  # it does not wind up
    assert trace.losses.mean() <= 0.1 + state.bound(5000) + at_the_top
    assert trace.losses[np.isfinite(served)].mean() < 0.1
    rare = np.where(rng.random(5000) < 0.05, np.inf, rng.random(5000))  # fewer than alpha: all of them are paid for
    assert state.run(rare).losses.mean() == pytest.approx(0.1, abs=0.02)


# ---------------------------------------------------------------- feedback from the members only


def pool(rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
    """s (T, M+1) with a null that competes, outcomes (T, M); the pool becomes worse half way, s does not know."""
    p = rng.random((length, 4))
    skill = np.where(np.arange(length)[:, None] < length // 2, 0.9, 0.45)
    outcomes = rng.random((length, 4)) < skill * p
    return 1 - np.column_stack([p, 1 - p.max(axis=1)]), outcomes


def test_no_member_is_right_is_seen_from_the_members_and_bounds_both_losses():
    """alpha above the unsolvable share: controlled by feedback from members alone."""
    s, outcomes = pool(np.random.default_rng(6), 4000)
    state, seen, others = OnlineCut(0.5, 0.45, 0.0, 1.0, 0.05), [], []
    for row, right in zip(s, outcomes, strict=True):
        members = select(row, state.cut)[:-1]
        seen.append(not right[members].any())  # reads no outcome of a model outside the set
        others.append([loss(select(row[None], state.cut), right[None], name)[0] for name in ("misrouting", "miss")])
        state = state.update(seen[-1])
    unsolvable = ~outcomes.any(axis=1)
    assert unsolvable.mean() < 0.45
    assert abs(np.mean(seen) - 0.45) <= state.bound(4000) + np.mean(unsolvable)
    assert np.mean(seen) == pytest.approx(0.45, abs=0.03)
    assert (np.array(others) <= np.array(seen)[:, None]).all()


@pytest.mark.parametrize("name", ["misrouting", "miss"])
def test_the_estimate_is_unbiased_and_reads_only_what_was_asked(name):
    """Its mean over the draw is the loss, for every state of the world."""
    for member in (False, True):
        for null in (False, True):
            for other in (False, True):
                solvable = member or other
                true = not member and solvable if name == "miss" else not (member or (null and not solvable))
                for explore in (1.0, 0.25):
                    asked = loss_estimate(name, member, null, other, explore)
                    blind = loss_estimate(name, member, null, None, explore)
                    clear = member or (name == "misrouting" and not null)
                    mean = blind if clear else explore * asked + (1 - explore) * blind
                    assert mean == true and (not clear or blind == asked)


def test_exploring_runs_are_updates_along_the_stream():
    rng = np.random.default_rng(7)
    served, asked = rng.random(600), rng.random(600) < 0.25
    served[rng.random(600) < 0.1] = -np.inf
    served[rng.random(600) < 0.05] = np.inf
    for state in (OnlineCut(0.5, 0.1, 0.0, 1.0, 0.1, 0.6, 0.25), online_level(rng.random(50), 0.1, 0.1, 0.0, 0.25)):
        cuts, losses, after = walk(state, served, asked)
        trace = state.run(served, asked)
        assert trace.cuts == pytest.approx(cuts, abs=1e-9) and (trace.losses == losses).all()
        assert trace.after.cut == pytest.approx(after.cut, abs=1e-9)
        assert tracker_of(trace.after).errors == tracker_of(after).errors


@pytest.mark.parametrize("step, decay, explore", [(0.05, 0.0, 0.5), (0.02, 0.0, 0.1), (0.5, 0.6, 0.3)])
def test_exploration_keeps_the_bound_in_expectation_and_with_confidence(step, decay, explore):
    """A drifting stream of `miss` with unsolvable queries (S = -inf); the loss is seen only where all were asked."""
    rng, trials, length = np.random.default_rng(8), 300, 1000
    state = OnlineCut(0.0, 0.1, 0.0, 1.0, step, decay, explore)
    means = np.empty(trials)
    for t in range(trials):
        served = np.clip(np.linspace(0, 0.7, length) + 0.3 * rng.random(length), 0, 1)
        served[rng.random(length) < 0.1] = -np.inf
        means[t] = state.run(served, rng.random(length) < explore).losses.mean()
    assert means.mean() <= 0.1 + state.bound(length) + 3 * means.std() / math.sqrt(trials)
    assert np.mean(means > 0.1 + state.bound(length, 0.1)) <= 0.1 + 3 * math.sqrt(0.09 / trials)
    assert state.bound(length, 0.1) > state.bound(length) and means.std() > 0


def test_ignoring_what_was_not_seen_breaks_the_promise_that_the_estimate_keeps():
    """Without the weight 1 / explore the long-run loss is about alpha / explore."""
    rng = np.random.default_rng(9)
    served, asked = rng.random(20_000), rng.random(20_000) < 0.25
    exact = OnlineCut(0.5, 0.1, 0.0, 1.0, 0.02, explore=0.25).run(served, asked).losses.mean()
    naive, total = OnlineCut(0.5, 0.1, 0.0, 1.0, 0.02), 0
    for s, a in zip(served.tolist(), asked.tolist(), strict=True):
        total += s > naive.cut
        naive = naive.update(a and s > naive.cut)
    assert exact == pytest.approx(0.1, abs=0.02) and total / 20_000 == pytest.approx(0.4, abs=0.03)


def test_a_real_stream_of_sets_keeps_its_loss():
    """S of whole sets, with the free null: `misrouting` is `miss`, and is long-run at alpha though the pool changes."""
    rng = np.random.default_rng(10)
    s, outcomes = pool(rng, 6000)
    s[:, -1], outcomes[3000:] = -np.inf, rng.random((3000, 4)) < 0.4  # later the router knows nothing
    trace = OnlineCut(0.5, 0.1, 0.0, 1.0, 0.05).run(least_cut(s, outcomes, "misrouting"))
    for half in (slice(500, 3000), slice(3500, 6000)):
        assert trace.losses[half].mean() == pytest.approx(0.1, abs=0.02)
    worse = least_cut(s, outcomes, "misrouting")[3500:]
    assert (worse > trace.cuts[500:3000].mean()).mean() > 0.2  # the earlier cut would not do for the later pool
    served_by = np.array([loss(select(row[None], cut), right[None], "misrouting")[0]
                          for row, cut, right in zip(s[:200], trace.cuts[:200], outcomes[:200], strict=True)])
    assert (served_by == trace.losses[:200]).all()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("change, message", [
    (dict(alpha=0), r"risk\.alpha"), (dict(alpha=1), r"risk\.alpha"), (dict(low=1.0, high=0.0), "in this order"),
    (dict(cut=2.0), "in this order"), (dict(high=np.inf), "finite"), (dict(step=0), "step > 0"),
    (dict(step=np.nan), "step > 0"), (dict(decay=1), "decay"), (dict(decay=-0.1), "decay"),
    (dict(explore=0), "explore"), (dict(explore=1.5), "explore")])
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        OnlineCut(**{**dict(cut=0.5, alpha=0.1, low=0.0, high=1.0, step=0.1), **change})


def test_streams_and_losses_that_are_none_are_refused():
    state = OnlineCut(0.5, 0.1, 0.0, 1.0, 0.1)
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="loss is"):
            state.update(bad)
    assert OnlineCut(0.5, 0.1, 0.0, 1.0, 0.1, explore=0.5).update(2.0).errors == 2
    with pytest.raises(ConfigError, match="no NaN"):
        state.run([0.1, np.nan])
    with pytest.raises(ConfigError, match="give `asked` exactly if"):
        state.run(np.zeros(3), np.ones(3, dtype=bool))
    exploring = OnlineCut(0.5, 0.1, 0.0, 1.0, 0.1, explore=0.5)
    with pytest.raises(ConfigError, match="give `asked` exactly if"):
        exploring.run(np.zeros(3))
    with pytest.raises(ConfigError, match="expected bool"):
        exploring.run(np.zeros(3), np.ones(3))
    with pytest.raises(ConfigError, match="sample is empty"):
        online_level([], 0.1, 0.1)
    with pytest.raises(ConfigError, match="expected one of misrouting, miss"):
        loss_estimate("regret", True, True, None)

"""Beyond one cut for one distribution: groups, covariate shift, streams."""

import numpy as np

from racer.conformal import calibrate
from racer.group import calibrate_groups
from racer.online import OnlineCut, OnlineLevel, online_level
from racer.weighted import calibrate_weighted, density_ratio
from trials.report import DELTA, Cell, Report
from trials.worlds import Shift, streams

# share of the queries, chance to need a model
GROUPS = {"easy": (0.6, 0.05), "hard": (0.3, 0.5), "rare": (0.08, 0.8), "tiny": (0.01, 0.8), "tiny, safe": (0.01, 0.0)}


def groups(report: Report, rng: np.random.Generator) -> None:
    """A query of a group needs a model with the group's chance h, else none; S is then uniform: risk h (1 - cut)."""
    names, draws, n, alpha = np.array(list(GROUPS)), max(report.draws // 2, 20), 1000, 0.1
    share, h = (np.array(column) for column in zip(*GROUPS.values(), strict=True))
    risks = {how: np.zeros((draws, len(names))) for how in ("own", "floor", "pooled")}
    own = np.zeros((draws, len(names)), dtype=bool)
    for t in range(draws):
        g = rng.choice(len(names), n, p=share)
        served = np.where(rng.random(n) < h[g], rng.random(n), -np.inf)
        for how, floor in (("own", False), ("floor", True)):
            c = calibrate_groups(served, names[g], alpha, "pac", DELTA, floor=floor)
            risks[how][t] = h * (1 - np.maximum(c.cut_of(names), 0))
        risks["pooled"][t] = h * (1 - max(c.pooled.cut, 0))
        own[t] = [name in c.own for name in names]
    rows = []
    for i, name in enumerate(names):
        above, pooled = risks["own"][:, i] > alpha, risks["pooled"][:, i] > alpha
        promised = report.test("group", DELTA, above) if own[:, i].all() else f"{above.mean():.3f} (no promise)"
        rows.append([name, f"{share[i]:g}", f"{own[:, i].mean():.2f}", promised, f"{pooled.mean():.3f}"])
    floor = report.test("group, floor", DELTA, risks["floor"] @ share > alpha)
    report.bar.update()
    report.say("## group", "",
               f"Share of {draws} calibration sets in which the risk *within the group* exceeds alpha = .1, by `pac` "
               f"within groups, n = {n}. Promised at most .1 for groups that always have the 22 queries that a cut of "
               "their own needs. *pooled*: one cut for all, whose promise is for the mixture only.")
    report.table(["group", "share", "has own cut", "group", "pooled"], rows)
    report.say("With `floor=True` the risk of the whole mixture, each query routed by the cut of its group, exceeds "
               f"alpha in {floor} of the calibration sets, promised at most .1.")


def covariate_shift(report: Report, rng: np.random.Generator) -> None:
    rows, draws, fits = [], max(report.draws // 2, 20), max(report.draws // 50, 10)
    for n in (100, 300, 1000):
        known, free, crc, _ = shifted(Shift(), n, draws, rng, estimate=False)
        guessed, _, _, loss = shifted(Shift(), n, fits, rng, estimate=True)
        promise = 0.1 + loss
        cell = report.test("weighted, estimated", promise, guessed)
        rows.append([n, f"{crc:.3f}", report.test("weighted", 0.1, known), f"{free:.3f}", cell, f"{promise:.3f}"])
        report.bar.update()
    report.say("## weighted", "",
               f"Mean true risk over {draws} calibration sets ({fits} with estimated weights) on new traffic, whose "
               "two features have moved by 1 and by .5 standard deviations; promised at most alpha = .1 with known "
               "weights. *every model*: share of the traffic so unlike the calibration queries that every model "
               "is asked. Estimated weights come from one half of the calibration rows and as many of the traffic; "
               "their promise is loosened by half the mean error of the weights, which is known here and nowhere else.")
    report.table(["n", "crc, misused", "weights known", "every model", "weights estimated", "its promise"], rows)


def shifted(world: Shift, n: int, draws: int, rng: np.random.Generator, estimate: bool) -> tuple:
    """Return the risks on the traffic (draws,), and means: share asked everything, risk under `crc`, half the error."""
    alpha, risks, free, crc, gaps = 0.1, np.zeros(draws), np.zeros(draws), np.zeros(draws), np.zeros(draws)
    for t in range(draws):
        x, traffic = world.features(rng, n, False), world.features(rng, 1000, True)
        served, weights = world.served(rng, x), world.weights
        crc[t] = world.risk(traffic, calibrate(served, alpha, "crc").cut).mean()
        if estimate:  # on other rows than those that calibrate
            weights = density_ratio(x[:n // 2], world.features(rng, n // 2, True)).weights
            x, served = x[n // 2:], served[n // 2:]
            fresh = world.features(rng, 5000, False)
            gaps[t] = np.abs(weights(fresh) / weights(fresh).mean() - world.weights(fresh)).mean() / 2
        cuts = calibrate_weighted(served, weights(x), alpha).cut_of(weights(traffic))
        risks[t], free[t] = world.risk(traffic, cuts).mean(), np.isinf(cuts).mean()
    return risks, free.mean(), crc.mean(), gaps.mean()


def online(report: Report, rng: np.random.Generator) -> None:
    length, alpha = 5000, 0.1
    report.say("## online", "", f"Distance of the mean loss over {length} queries from alpha = .1, the largest of "
               f"{max(report.draws // 100, 3)} streams of a kind. The bound holds for every stream, so nothing may "
               "exceed it. The cut moves either on the scale of S or as the level of a stored sample.")
    for step, decay in ((0.05, 0.0), (0.5, 0.6)):
        cut = OnlineCut(0.5, alpha, 0.0, 1.0, step, decay)
        bound, worst = cut.bound(length), {}
        for _ in range(max(report.draws // 100, 3)):
            level = online_level(rng.random(200), alpha, step, decay)
            for name, served in streams(rng, length).items():
                for kind, tracker in (("cut", cut), ("level", level)):
                    off = abs(float(tracker.run(served).losses.mean()) - alpha)
                    worst[name, kind] = max(worst.get((name, kind), 0.0), off)
        for kind, tracker in (("cut", cut), ("level", level)):
            worst["an error whenever one is possible", kind] = abs(adversary(tracker, length) - alpha)
        report.cells += [Cell("online", bound, off, 0.0) for off in worst.values()]
        rows = [[name, *(f"{worst[name, kind]:.4f}" for kind in ("cut", "level"))]
                for name in dict.fromkeys(name for name, _ in worst)]
        report.say(f"Step {step:g}, decay {decay:g}; bound {bound:.4f}:")
        report.table(["stream", "cut", "level"], rows)
        report.bar.update()


def adversary(state: OnlineCut | OnlineLevel, length: int) -> float:
    """Return the mean loss when S lies just above the cut as long as it is in its range."""
    errors = 0
    for _ in range(length):
        tracker = state.tracker if isinstance(state, OnlineLevel) else state
        error = tracker.cut < tracker.high
        errors += error
        state = state.update(float(error))
    return errors / length

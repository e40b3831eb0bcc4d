"""Online recalibration: the fusion refitted on what has become known lately, while the students stay.

Exponentially weighted normal equations start from the calibration split's and forget at a half-life;
every so often kernel corrections, γ, means and bandwidths are solved from them. An outcome enters only
after its horizon has passed, so no forecast knows anything that had not happened. Cost is bounded: one
rank-one update a sample, small solves a refit, and nothing grows.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from market.files import written_beside
from models.ensemble.fusion import LOSSES, Fusion, fit_gamma, regime_of
from models.ensemble.parameters import Array, Calibration, graph_parameters
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.errors import ModelError
from models.features.book_features import FeatureSpec
from models.features.labels import cells, normalise
from models.features.targets import Row, Targets

_FLOOR = 0.05  # of the absolute loss's reweighting, in deviations of the target


def moments(c: Calibration, y: Array, z: Array, target: Array, regime: NDArray[np.int64]) -> dict[str, Array]:
    """Mean moments of a split, from which `Rolling` starts; arguments as `fusion.fit`."""
    sums = _empty(c.fusion)
    weights = _weights(c)
    phi, m = c.fusion.phi(z), c.fusion.members(y, z)
    for i in range(len(y)):
        _learn(
            1.0, y[i], phi[i], target[i], m[i], weights[regime[i]], _robust(c.fusion), c.fusion.mean,
            c.fusion.beta, c.fusion.offset, *sums.values(),
        )  # fmt: skip
    return {name: value / len(y) for name, value in sums.items()}


class Rolling:
    """The fusion of the last while.

    Parameters
    ----------
    calibration : Calibration
    config : RecalibrateConfig
    gap_s : float
        Time between samples, from which half-life and window follow.

    """

    def __init__(self, calibration: Calibration, config: RecalibrateConfig, gap_s: float) -> None:
        self.fusion = calibration.fusion
        self._c = calibration
        samples = config.half_life_s / gap_s
        self._keep = 0.5 ** (1.0 / samples)
        self._window = samples / np.log(2.0)
        self._prior = config.prior * self._window
        self._weights, self._robust = _weights(calibration), _robust(calibration.fusion)
        self.sums = {name: value * self._window for name, value in calibration.sums.items()}
        self._scale = np.sqrt(calibration.fusion.bandwidth) / np.maximum(calibration.sums["distance"], 1e-9)

    def learn(self, y: Array, phi: Array, target: Array, regime: int) -> None:
        """Take one sample whose outcome has become known.

        Parameters
        ----------
        y : ndarray (students,)
        phi : ndarray (students, D)
        target : ndarray (3,)
            Standardised.
        regime : int
            Of the cells.

        """
        f = self.fusion
        m = (y + (phi * f.beta).sum(-1) + f.offset).reshape(len(f.mean), -1) - f.mean[:, None]
        _learn(
            self._keep, y, phi, target, m, self._weights[regime], self._robust, f.mean, f.beta, f.offset,
            *self.sums.values(),
        )  # fmt: skip

    def refit(self) -> Fusion:
        """Solve for the fusion of the current moments."""
        s = {name: value + self._prior * self._c.sums[name] for name, value in self.sums.items()}
        old = self._c.fusion
        tasks, n = old.weight.shape
        ridges = np.repeat(old.ridges, n)
        on = np.isfinite(ridges)
        w = np.maximum(s["weight"], 1e-12)
        centre, level = s["phi"] / w[:, None], s["residual"] / w
        gram = s["phi_phi"] / w[:, None, None] - centre[:, :, None] * centre[:, None, :]
        moment = s["phi_residual"] / w[:, None] - centre * level[:, None]
        beta, offset = np.zeros_like(old.beta), np.zeros_like(old.offset)
        if on.any():
            eye = np.eye(gram.shape[1])
            beta[on] = np.linalg.solve(gram[on] + ridges[on, None, None] * eye, moment[on][..., None])[..., 0]
            offset[on] = level[on] - (centre[on] * beta[on]).sum(-1)
        count = s["count"][0]
        mean = s["target"] / count
        weight = old.weight.copy()
        for task in range(tasks):
            if np.isfinite(old.gamma_ridges[task]):
                pairs, products = s["member_member"][task] / count, s["member_target"][task] / count
                weight[task] = fit_gamma(pairs, products, old.gamma_ridges[task])
        self.fusion = msgspec.structs.replace(
            old,
            beta=beta,
            offset=offset,
            mean=mean,
            weight=weight,
            bandwidth=(self._scale * s["distance"] / count) ** 2 + 1e-9,
        )
        return self.fusion


def _weights(c: Calibration) -> Array:
    """Weight (regimes, students) of a sample of each regime for each student."""
    n = c.fusion.weight.shape[1]
    mine = np.array([regime_of(i, n, c.regimes) for i in range(len(c.readout))])
    return np.where(np.arange(c.regimes)[:, None] == mine, 1.0, c.outside_weight)


def _robust(fusion: Fusion) -> NDArray[np.bool_]:
    """Which students' residuals are judged by absolute loss."""
    return np.repeat([loss == "absolute" for loss in LOSSES], fusion.weight.shape[1])


def _empty(fusion: Fusion) -> dict[str, Array]:
    (tasks, n), (students, d) = fusion.weight.shape, fusion.beta.shape
    shapes = {
        "weight": (students,),
        "phi": (students, d),
        "residual": (students,),
        "phi_phi": (students, d, d),
        "phi_residual": (students, d),
        "member_member": (tasks, n, n),
        "member_target": (tasks, n),
        "target": (tasks,),
        "distance": (tasks,),
        "count": (1,),
    }
    return {name: np.zeros(shape) for name, shape in shapes.items()}


@njit(cache=True)
def _learn(  # type: ignore[no-untyped-def]
    keep, y, phi, target, m, weights, robust, mean, beta, offset,
    s_weight, s_phi, s_residual, s_phi_phi, s_phi_residual, s_mm, s_mt, s_target, s_distance, s_count,
):  # fmt: skip
    """Age all sums by `keep` and add one sample."""
    tasks, n = m.shape
    d = phi.shape[1]
    for i in range(y.shape[0]):
        residual = target[i // n] - y[i]
        w = weights[i]
        if robust[i]:
            error = residual - offset[i]
            for a in range(d):
                error -= phi[i, a] * beta[i, a]
            w /= max(abs(error), _FLOOR)
        s_weight[i] = keep * s_weight[i] + w
        s_residual[i] = keep * s_residual[i] + w * residual
        for a in range(d):
            s_phi[i, a] = keep * s_phi[i, a] + w * phi[i, a]
            s_phi_residual[i, a] = keep * s_phi_residual[i, a] + w * phi[i, a] * residual
            for b in range(d):
                s_phi_phi[i, a, b] = keep * s_phi_phi[i, a, b] + w * phi[i, a] * phi[i, b]
    for t in range(tasks):
        centred = target[t] - mean[t]
        median = np.median(m[t])
        s_target[t] = keep * s_target[t] + target[t]
        s_distance[t] = keep * s_distance[t] + np.median(np.abs(m[t] - median))
        for a in range(n):
            s_mt[t, a] = keep * s_mt[t, a] + m[t, a] * centred
            for b in range(n):
                s_mm[t, a, b] = keep * s_mm[t, a, b] + m[t, a] * m[t, b]
    s_count[0] = keep * s_count[0] + 1.0


class Recalibrator:
    """Recalibration beside a running predictor: feed it what the features see, and it moves the graph's parameters.

    Parameters
    ----------
    calibration : Calibration
    config : RecalibrateConfig
    spec : FeatureSpec

    """

    def __init__(self, calibration: Calibration, config: RecalibrateConfig, spec: FeatureSpec) -> None:
        self._c, self._config, self._spec = calibration, config, spec
        self._rolling = Rolling(calibration, config, config.sample_s)
        self.parameters = graph_parameters(calibration, calibration.fusion)
        self.refits = 0
        self._until = 0
        self._sample_ns, self._every_ns = round(config.sample_s * 1e9), round(config.every_s * 1e9)
        self._phi_scale = float(np.sqrt(2.0 / len(calibration.fusion.phase)))
        self.start()
        if config.state is not None:
            self.load(Path(config.state))

    def start(self) -> None:
        """Begin a stretch of market: nothing is pending, what was learnt stays."""
        self._targets = Targets(self._spec.horizon_s, self._spec.max_gap_s)
        self._waiting: deque[tuple[NDArray[np.float32], NDArray[np.float32], int]] = deque()
        self._next_sample = self._next_refit = 0

    def on_trade(self, ts_ns: int, ticks: int, lots: int, aggressor: int) -> None:
        for row in self._targets.on_trade(ts_ns, ticks, lots, aggressor):
            self._finish(row)

    def on_book(self, ts_ns: int, bid_ticks: int, ask_ticks: int, sound: bool) -> None:
        """Take a book update; may refit. Call it before the forecast of the same update."""
        self._until = ts_ns
        for row in self._targets.on_book(ts_ns, bid_ticks, ask_ticks, sound):
            self._finish(row)
        if ts_ns >= self._next_refit:
            if self._next_refit:
                self._refit()
            self._next_refit = ts_ns + self._every_ns

    def sample(self, ts_ns: int, features: NDArray[np.float32], known: NDArray[np.float32], regime: int) -> None:
        """Remember what the students said at this update.

        Parameters
        ----------
        ts_ns : int
        features : ndarray (features,)
        known : ndarray (students, width + 1 + D)
            The graph's output of that name.
        regime : int

        """
        if ts_ns < self._next_sample:
            return
        self._next_sample = ts_ns + self._sample_ns
        self._targets.sample(ts_ns)
        self._waiting.append((features[-3:].copy(), known.copy(), regime))

    def save(self, path: Path) -> None:
        """Write the state; loading it and feeding the same market gives the same forecasts."""
        fusion = self._rolling.fusion
        arrays = {f"sums.{name}": value for name, value in self._rolling.sums.items()}
        moving = ("beta", "offset", "mean", "weight", "bandwidth")
        arrays |= {f"fusion.{name}": getattr(fusion, name) for name in moving}
        arrays["until_ns"] = np.array([self._until], np.int64)
        with written_beside(path) as beside, beside.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]

    def load(self, path: Path) -> None:
        """Go on from a saved state.

        Raises
        ------
        ModelError
            Not a state, or one of another artifact.

        """
        try:
            with np.load(path) as arrays:
                sums = {name: arrays[f"sums.{name}"] for name in self._rolling.sums}
                fusion = {n.removeprefix("fusion."): arrays[n] for n in arrays.files if n.startswith("fusion.")}
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(
                f"model.recalibrate.state {path}: cannot be read ({error}); name another or null"
            ) from error
        if any(sums[name].shape != value.shape for name, value in self._rolling.sums.items()):
            raise ModelError(f"model.recalibrate.state {path}: belongs to another artifact; name another or null")
        self._rolling.sums = sums
        self._rolling.fusion = msgspec.structs.replace(self._c.fusion, **fusion)
        self._publish()

    def _finish(self, row: Row | int) -> None:
        context, known, regime = self._waiting.popleft()
        if not isinstance(row, Row):
            return
        outcome = np.array([[row.mid_change_ticks, row.mean_spread_ticks, row.volume_lots]], np.float32)
        target = (normalise(outcome, context[None])[0] - self._c.target_mean) / self._c.target_deviation
        width = self._c.readout.shape[1]
        y = (known[:, :width].astype(np.float64) * self._c.readout).sum(-1) + self._c.readout_bias
        phi = known[:, width:].astype(np.float64) * self._phi_scale
        if np.isfinite(known).all():
            self._rolling.learn(y, phi, target, int(cells(np.array([regime], np.int8), self._c.regimes)[0]))

    def _refit(self) -> None:
        self._rolling.refit()
        self.refits += 1
        self._publish()

    def _publish(self) -> None:
        """Write the parameters in place: the graph reads these very arrays."""
        for name, array in graph_parameters(self._c, self._rolling.fusion).items():
            self.parameters[name][...] = array


def seen_until(state: Path) -> int:
    """Last time, ns, that a saved state has seen."""
    try:
        with np.load(state) as arrays:
            return int(arrays["until_ns"][0])
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"model.recalibrate.state {state}: cannot be read ({error}); name another or null") from error


def replay(
    calibration: Calibration,
    config: RecalibrateConfig,
    y: Array,
    z: Array,
    target: Array,
    regime: NDArray[np.int64],
    ts_ns: NDArray[np.int64],
    horizon_s: float,
) -> Array:
    """Forecasts (rows, tasks) of a span with recalibration as it would have run, standardised.

    Rows enter the moments once their horizon has passed; between refits the fusion stands.
    """
    rolling = Rolling(calibration, config, config.sample_s)
    horizon, every, gap = round(horizon_s * 1e9), round(config.every_s * 1e9), round(config.sample_s * 1e9)
    forecasts = np.zeros_like(target)
    phi = calibration.fusion.phi(z)
    start, learnt, last = 0, 0, -(2**62)
    while start < len(ts_ns):
        stop = int(np.searchsorted(ts_ns, ts_ns[start] + every))
        forecasts[start:stop] = rolling.fusion.predict(y[start:stop], z[start:stop])[0]
        now = ts_ns[min(stop, len(ts_ns) - 1)]
        while learnt < stop and ts_ns[learnt] + horizon < now:
            if ts_ns[learnt] >= last + gap:
                last = ts_ns[learnt]
                rolling.learn(y[learnt], phi[learnt], target[learnt], int(regime[learnt]))
            learnt += 1
        rolling.refit()
        start = stop
    return forecasts

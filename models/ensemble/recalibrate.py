"""Online recalibration: the fusion refitted on what has become known lately, while the students stay.

Exponentially weighted normal equations start from the calibration split's and forget at a half-life;
every so often kernel corrections, γ, means and bandwidths are solved from them. An outcome enters only
after its horizon has passed, so no forecast knows anything that had not happened. Cost is bounded: one
rank-one update a sample, small solves a refit, and nothing grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from market.files import written_beside
from models.ensemble.fusion import Array, StudentOutputs
from models.ensemble.moments import Moments
from models.ensemble.parameters import Calibration, graph_parameters
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.ensemble.rolling import Rolling
from models.errors import ModelError
from models.features.book_features import FeatureSpec
from models.features.labels import cells, normalise
from models.features.outcomes import Known, OutcomeTracker


class _Said(NamedTuple):
    """What the students said: the scales (3,) of its time, the graph's `known` and the regime."""

    context: NDArray[np.float32]
    known: NDArray[np.float32]
    regime: int


type Move = Callable[[dict[str, NDArray[np.float32]]], None]


class Recalibrator:
    """Recalibration beside a running predictor: feed it what the features see, and it moves the graph's parameters.

    Parameters
    ----------
    calibration : Calibration
    config : RecalibrateConfig
    spec : FeatureSpec
    move : callable
        Takes the graph's parameters, at once and whenever they change.

    """

    def __init__(self, calibration: Calibration, config: RecalibrateConfig, spec: FeatureSpec, move: Move) -> None:
        self._c, self._config, self._spec, self._move = calibration, config, spec, move
        self._rolling = Rolling(calibration, config)
        self._publish()
        self.refits = 0
        self._until = 0
        self._sample_ns, self._every_ns = round(config.sample_s * 1e9), round(config.every_s * 1e9)
        self._phi_scale = float(np.sqrt(2.0 / len(calibration.fusion.phase)))
        self.start()
        if config.state is not None:
            self.load(Path(config.state))

    def start(self) -> None:
        """Begin a stretch of market: nothing is pending, what was learnt stays."""
        self._tracker: OutcomeTracker[_Said] = OutcomeTracker(
            self._spec.horizon_s, self._spec.max_gap_s, self._sample_ns
        )
        self._next_refit = 0

    def on_trade(self, ts_ns: int, ticks: int, lots: int, aggressor: int) -> None:
        """Take a trade; aggressor 1 is a buyer, 2 a seller, 0 unknown."""
        for known in self._tracker.on_trade(ts_ns, ticks, lots, aggressor):
            self._learn(known)

    def on_book(self, ts_ns: int, bid_ticks: int, ask_ticks: int, sound: bool) -> None:
        """Take a book update; may refit. Call it before the forecast of the same update."""
        self._until = ts_ns
        for known in self._tracker.on_book(ts_ns, bid_ticks, ask_ticks, sound=sound):
            self._learn(known)
        if self.refits_at(ts_ns):
            self._refit()
        if ts_ns >= self._next_refit:
            self._next_refit = ts_ns + self._every_ns

    def refits_at(self, ts_ns: int) -> bool:
        """Whether a book update of that time moves the parameters."""
        return self._next_refit != 0 and ts_ns >= self._next_refit

    def is_due(self, ts_ns: int) -> bool:
        """Whether the last sample lies long enough back for another one."""
        return self._tracker.is_due(ts_ns)

    def sample(self, ts_ns: int, features: NDArray[np.float32], known: NDArray[np.float32], regime: int) -> None:
        """Remember what the students said at this update; only where `is_due`.

        Parameters
        ----------
        ts_ns : int
        features : ndarray (features,)
        known : ndarray (students, width + 1 + D)
            The graph's output of that name; kept, not copied.
        regime : int

        """
        self._tracker.sample(ts_ns, _Said(features[-3:].copy(), known, regime))

    @property
    def identity(self) -> str:
        """What decides how it learns, besides the artifact and what it has learnt."""
        return msgspec.json.encode(msgspec.structs.replace(self._config, state=None)).decode()

    def learnt(self) -> dict[str, NDArray[np.generic]]:
        """A copy of what was learnt so far; what is pending is not part of it."""
        fusion = self._rolling.fusion
        arrays = {f"sums.{name}": value for name, value in self._rolling.sums._asdict().items()}
        moving = ("beta", "offset", "mean", "weight", "bandwidth")
        arrays |= {f"fusion.{name}": getattr(fusion, name) for name in moving}
        arrays["until_ns"] = np.array([self._until], np.int64)
        arrays["refits"] = np.array([self.refits], np.int64)
        return {name: np.array(value) for name, value in arrays.items()}

    def go_on(self, learnt: Mapping[str, NDArray[np.generic]]) -> None:
        """Take what `learnt` gave: feeding the same market then gives the same forecasts.

        Raises
        ------
        KeyError, ValueError
            Something is missing, or belongs to another artifact.

        """
        sums = Moments(*(np.array(learnt[f"sums.{name}"]) for name in Moments._fields))
        moved = {n.removeprefix("fusion."): np.array(learnt[n]) for n in learnt if n.startswith("fusion.")}
        if any(one.shape != other.shape for one, other in zip(sums, self._rolling.sums, strict=True)):
            raise ValueError("it belongs to another artifact")
        self._until = int(learnt["until_ns"][0])
        self.refits = int(learnt["refits"][0])
        self._rolling.go_on(sums, msgspec.structs.replace(self._c.fusion, **moved))
        self._publish()

    def save(self, path: Path) -> None:
        """Write the state; loading it and feeding the same market gives the same forecasts."""
        with written_beside(path) as beside, beside.open("wb") as handle:
            np.savez(handle, **{name: value for name, value in self.learnt().items() if name != "refits"})  # type: ignore[arg-type]

    def load(self, path: Path) -> None:
        """Go on from a saved state.

        Raises
        ------
        ModelError
            Not a state, or one of another artifact.

        """
        try:
            with np.load(path) as arrays:
                self.go_on({**arrays, "refits": np.array([self.refits])})
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(
                f"model.recalibrate.state {path}: cannot be read ({error}); name another or null"
            ) from error

    def _learn(self, known: Known[_Said]) -> None:
        (context, said, regime), came = known
        if came is None or not np.isfinite(said).all():
            return
        outcome = np.array([[came.mid_change_ticks, came.mean_spread_ticks, came.volume_lots]], np.float32)
        target = (normalise(outcome, context[None])[0] - self._c.target_mean) / self._c.target_deviation
        width = self._c.readout.shape[1]
        y = (said[:, :width].astype(np.float64) * self._c.readout).sum(-1) + self._c.readout_bias
        phi = said[:, width:].astype(np.float64) * self._phi_scale
        self._rolling.learn(y, phi, target, int(cells(np.array([regime], np.int8), self._c.regimes)[0]))

    def _refit(self) -> None:
        self._rolling.refit()
        self.refits += 1
        self._publish()

    def _publish(self) -> None:
        self._move(graph_parameters(self._c, self._rolling.fusion))


def seen_until(state: Path) -> int:
    """Last time, ns, that a saved state has seen."""
    try:
        with np.load(state) as arrays:
            return int(arrays["until_ns"][0])
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"model.recalibrate.state {state}: cannot be read ({error}); name another or null") from error


def replay(calibration: Calibration, config: RecalibrateConfig, outputs: StudentOutputs, horizon_s: float) -> Array:
    """Forecasts (rows, tasks) of a span with recalibration as it would have run, standardised.

    Rows enter the moments once their horizon has passed; between refits the fusion stands.
    """
    rolling = Rolling(calibration, config)
    y, z, target, ts_ns = outputs.y, outputs.z, outputs.target, outputs.ts_ns
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
                rolling.learn(y[learnt], phi[learnt], target[learnt], int(outputs.regime[learnt]))
            learnt += 1
        rolling.refit()
        start = stop
    return forecasts

"""What a forecast is worth: metrics with block-bootstrap intervals, because horizons of neighbours overlap."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features.dataset import Dataset
from models.features.labels import natural

type Array = NDArray[np.float64]
type Metric = Literal["ic_mid", "r2_mid", "mae_spread_ticks", "r2_spread", "r2_volume"]
type Interval = tuple[float, float]

METRICS: tuple[Metric, ...] = ("ic_mid", "r2_mid", "mae_spread_ticks", "r2_spread", "r2_volume")
JUDGED: dict[str, Metric] = {"mid": "ic_mid", "spread": "mae_spread_ticks", "volume": "r2_volume"}
"""The metric by which each task is judged; of the spread's, less is better."""

_DRAWS = 400
_LEAST_BLOCKS = 5


class Score(msgspec.Struct, frozen=True):
    """Metrics of a forecast, or of one less those of another; each with its 95% interval, None on short spans.

    Attributes
    ----------
    samples : int
        Rows that were judged; unset in a difference.
    ic_mid : float
        Correlation of forecast and outcome.
    r2_mid, r2_spread, r2_volume : float
        Against the mean of the same span.
    mae_spread_ticks : float
        Mean absolute error.

    """

    samples: int | msgspec.UnsetType
    ic_mid: float
    ic_mid_interval: Interval | None
    r2_mid: float
    r2_mid_interval: Interval | None
    mae_spread_ticks: float
    mae_spread_ticks_interval: Interval | None
    r2_spread: float
    r2_spread_interval: Interval | None
    r2_volume: float
    r2_volume_interval: Interval | None

    def value(self, metric: Metric) -> float:
        """One metric by its name."""
        found: float = getattr(self, metric)
        return found

    def interval(self, metric: Metric) -> Interval | None:
        """Its 95% interval."""
        found: Interval | None = getattr(self, f"{metric}_interval")
        return found


def score(forecast: NDArray[np.floating], data: Dataset) -> Score:
    """Metrics of forecasts (rows, ≥ 3) in natural units.

    Fewer than five blocks tell nothing: intervals are None.
    """
    sums = _block_sums(forecast[:, :3].astype(np.float64), data)
    drawn = _metrics(_draw(sums)) if len(sums) >= _LEAST_BLOCKS else None
    return _score(len(data), _metrics(sums.sum(0)[None]), drawn)


def difference(a: NDArray[np.floating], b: NDArray[np.floating], data: Dataset) -> Score:
    """Metrics of `a` minus those of `b` on the same rows, with 95% intervals of the paired bootstrap."""
    one, other = (_block_sums(f[:, :3].astype(np.float64), data) for f in (a, b))
    drawn = _metrics(_draw(one)) - _metrics(_draw(other)) if len(one) >= _LEAST_BLOCKS else None
    return _score(msgspec.UNSET, _metrics(one.sum(0)[None]) - _metrics(other.sum(0)[None]), drawn)


def _score(samples: int | msgspec.UnsetType, values: Array, drawn: Array | None) -> Score:
    """From metrics (metrics, 1) and their bootstrap draws (metrics, draws)."""
    found: list[float | Interval | None] = []
    for i in range(len(METRICS)):
        interval = tuple(np.quantile(drawn[i], [0.025, 0.975]).tolist()) if drawn is not None else None
        found += [float(values[i, 0]), interval]
    return Score(samples, *found)  # type: ignore[arg-type]  # value and interval in turn, as the fields stand


def beats(metric: Metric, a: float, b: float) -> bool:
    """Whether `a` is better than `b`."""
    return a < b if metric == "mae_spread_ticks" else a > b


def correlation(forecast: NDArray[np.floating], outcome: NDArray[np.floating]) -> float:
    """Correlation; 0 where one of the two never changes."""
    f, y = forecast - forecast.mean(), outcome - outcome.mean()
    return float(f @ y / max(float(np.sqrt((f @ f) * (y @ y))), 1e-12))


def _block_sums(forecast: Array, data: Dataset) -> Array:
    """Sums by block of time (blocks, 15), of which every metric is a function.

    Blocks last 5 minutes, on short data a twentieth of it but no less than six horizons.
    """
    outcome = natural(data).astype(np.float64)
    span_ns = int(data.ts_ns[-1] - data.ts_ns[0])
    block_ns = int(min(max(span_ns / 20, data.spec.horizon_s * 6e9), 300e9))
    _, block = np.unique(data.ts_ns // block_ns, return_inverse=True)
    f, y, error = forecast[:, 0], outcome[:, 0], outcome - forecast
    columns = [np.ones(len(f)), f, y, f * f, y * y, f * y, np.abs(error[:, 1])]
    for task in range(3):
        columns += [error[:, task] ** 2, outcome[:, task], outcome[:, task] ** 2]
    sums = np.zeros((block.max() + 1, len(columns)))
    np.add.at(sums, block, np.stack(columns, 1))
    return sums


def _draw(sums: Array) -> Array:
    picks = np.random.default_rng(0).integers(0, len(sums), (_DRAWS, len(sums)))
    return sums[picks].sum(1)


def _metrics(sums: Array) -> Array:
    """(metrics, draws) from sums (draws, columns)."""
    n, f, y, ff, yy, fy, absolute = sums[:, :7].T
    variances = np.maximum((ff - f * f / n) * (yy - y * y / n), 1e-12)
    ic = (fy - f * y / n) / np.sqrt(variances)
    r2 = [_r2(n, *sums[:, 7 + 3 * task : 10 + 3 * task].T) for task in range(3)]
    return np.stack([ic, r2[0], absolute / n, r2[1], r2[2]])


def _r2(n: Array, squares: Array, y: Array, yy: Array) -> Array:
    return 1.0 - squares / np.maximum(yy - y * y / n, 1e-9)

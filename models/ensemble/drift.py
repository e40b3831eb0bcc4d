"""Whether a model still fits its market: paired comparison of forecasts, and features outside their training range."""

from __future__ import annotations

import math
from collections import deque
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

_LEAST_BLOCKS = 15
_LEAST_LOOKS = 120
_CONSTANT = 1e-12  # of the square: what is left of a constant after rounding


class DriftConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a model that trades no longer fits; alarms follow, trading goes on.

    Parameters
    ----------
    window_s : float
        Time of market looked back on.
    max_outside_share : float
        A feature outside its training range in more than this share of the looks has drifted.
    sigmas : float
        The forecast is worse than "no change" by so many standard errors of the difference.

    """

    window_s: Annotated[float, Meta(gt=0)] = 1800.0
    max_outside_share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    sigmas: Annotated[float, Meta(gt=0)] = 3.0


class Comparison(msgspec.Struct, frozen=True):
    """One forecast against another on the same outcomes; errors in the outcomes' unit."""

    outcomes: int = 0
    blocks: int = 0
    rmse: float | None = None
    rmse_other: float | None = None
    correlation: float | None = None
    """Pearson's, of forecasts and outcomes: what a model card calls IC."""
    correlation_other: float | None = None
    slope: float | None = None
    """Of the outcomes on the forecast, through zero: 1 for a calibrated one."""
    z: float | None = None
    """Mean difference of squared errors, the forecast's less the other's, in standard errors: negative is better."""


class Paired:
    """Compares two forecasts on what happened, outcome by outcome.

    Horizons of neighbouring outcomes overlap, so that their errors are alike. Standard errors are therefore
    those of the means of blocks that are longer than a horizon (batch means); the test is that of Diebold and
    Mariano (Journal of Business & Economic Statistics 13, 1995).

    Parameters
    ----------
    block_ns : int
        Length of a block; at least twice the horizon.
    blocks : int
        So many of the last ones count.

    """

    def __init__(self, block_ns: int, blocks: int) -> None:
        self._block_ns, self._most = block_ns, blocks
        self._blocks: deque[NDArray[np.float64]] = deque()
        self._totals = np.zeros(14)
        self._open = np.zeros(12)
        self._ends = 0

    def add(self, ts_ns: int, forecast: float, other: float, happened: float) -> None:
        """Take one outcome of time `ts_ns`, in order of time."""
        if ts_ns >= self._ends:
            self._close()
            self._ends = ts_ns + self._block_ns
        e, o = forecast - happened, other - happened
        self._open += (
            1.0, e * e, o * o, forecast * forecast, other * other, happened * happened, forecast * happened,
            other * happened, e * e - o * o, forecast, other, happened,
        )  # fmt: skip

    def _close(self) -> None:
        count = self._open[0]
        if not count:
            return
        mean = self._open[8] / count
        block = np.concatenate([self._open, [mean, mean * mean]])
        self._blocks.append(block)
        self._totals += block
        if len(self._blocks) > self._most:
            self._totals -= self._blocks.popleft()
        self._open[:] = 0.0

    def compare(self) -> Comparison:
        """Of all whole blocks that count; None for what too few, or a constant, leave open."""
        n = len(self._blocks)
        if not n:
            return Comparison()
        count, ee, oo, ff, gg, yy, fy, gy, _, f, g, y, means, squares = self._totals.tolist()
        variance = (squares - means * means / n) / (n - 1) if n > 1 else 0.0
        error = math.sqrt(max(variance, 0.0) / n)
        return Comparison(
            outcomes=round(count),
            blocks=n,
            rmse=math.sqrt(max(ee, 0.0) / count),
            rmse_other=math.sqrt(max(oo, 0.0) / count),
            correlation=_correlation(count, (f, ff), (y, yy), fy),
            correlation_other=_correlation(count, (g, gg), (y, yy), gy),
            slope=_ratio(fy, ff),
            z=None if n < _LEAST_BLOCKS else _ratio(means / n, error) if means else 0.0,
        )


def _correlation(n: float, a: tuple[float, float], b: tuple[float, float], product: float) -> float | None:
    """Pearson's, from sums and sums of squares; None where one of the two never changes."""
    spread_a, spread_b = (square - total * total / n for total, square in (a, b))
    if spread_a <= _CONSTANT * a[1] or spread_b <= _CONSTANT * b[1]:
        return None
    return (product - a[0] * b[0] / n) / math.sqrt(spread_a * spread_b)


def _ratio(over: float, under: float) -> float | None:
    return over / under if under > 0.0 else None


class Outside(NamedTuple):
    """A feature that drifted, with the share of looks at which it lay outside its training range."""

    feature: str
    share: float


class FeatureRange:
    """Counts over a window how often each feature lies outside its training range.

    Parameters
    ----------
    names : list[str]
    looks : int
        The window.

    """

    def __init__(self, names: list[str], looks: int) -> None:
        self._names, self._most = names, max(looks, _LEAST_LOOKS)
        self._looks: deque[NDArray[np.bool_]] = deque()
        self._counts = np.zeros(len(names), np.int64)

    def add(self, outside: NDArray[np.bool_]) -> None:
        """Take one look (features,)."""
        self._looks.append(outside)
        self._counts += outside
        if len(self._looks) > self._most:
            self._counts -= self._looks.popleft()

    def drifted(self, max_share: float) -> list[Outside]:
        """Features outside in more than this share of the looks, worst first; none while there are few looks."""
        n = len(self._looks)
        if n < _LEAST_LOOKS:
            return []
        found = [Outside(self._names[i], self._counts[i] / n) for i in np.flatnonzero(self._counts > max_share * n)]
        return sorted(found, key=lambda one: (-one.share, one.feature))

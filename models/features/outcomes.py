"""Sample now, know the outcome at t + H: mid change, mean spread and volume over (t, t + H], reach of trades.

ONE rule serves datasets, online recalibration, the comparison of models and what the monitor shows. It streams:
samples wait until their horizon has passed, so that memory is bounded by the horizon. The outcome is the state that
stood at exactly t + H, which is known when the first event after it arrives. A sample whose horizon crosses a break or
the end of the recording never gets an outcome.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

REACH_S = 1.0
"""Time after a sample in which `reach_bid_ticks` and `reach_ask_ticks` look at trades, seconds."""

_BUYER, _SELLER = 1, 2


class Outcome(NamedTuple):
    """What happened after a sample, raw; the scales that normalise it are among the features."""

    ts_ns: int
    """Time of the sample."""
    mid_change_ticks: float
    mean_spread_ticks: float
    """Over time, not over updates."""
    volume_lots: float
    reach_bid_ticks: float
    """How far below the mid sellers traded within `REACH_S`; -1 where none did."""
    reach_ask_ticks: float
    """How far above the mid buyers traded, likewise."""


class Known[T](NamedTuple):
    """A sample that has ended: what was noted with it, and its outcome; None where a break came first."""

    noted: T
    outcome: Outcome | None


class _Open[T](NamedTuple):
    ts_ns: int
    mid: float
    spread_area: float
    volume: float
    noted: T


class OutcomeTracker[T]:
    """Holds samples until their outcome is known. Feed it every book update and, for volume and reach, every trade.

    Parameters
    ----------
    horizon_s : float
        H, seconds.
    max_gap_s : float
        A longer silence is a break, seconds.
    every_ns : int
        Least time between samples, for `is_due`.

    """

    def __init__(self, horizon_s: float, max_gap_s: float, every_ns: int = 0) -> None:
        self._horizon = round(horizon_s * 1e9)
        self._reach = round(REACH_S * 1e9)
        self._gap = round(max_gap_s * 1e9)
        self._every = every_ns
        self._next = 0
        self._open: deque[_Open[T]] = deque()
        self._prints: deque[tuple[int, int, float]] = deque()  # (ts, aggressor, price)
        self._ts = 0
        self._mid = 0.0
        self._spread = 0.0
        self._area = 0.0  # integral of the spread over time, ticks x ns
        self._volume = 0.0

    def is_due(self, ts_ns: int) -> bool:
        """Whether the last sample lies long enough back for another one."""
        return ts_ns >= self._next

    def sample(self, ts_ns: int, noted: T) -> None:
        """Sample the current book, with whatever is to be noted; call after `on_book` of the same time."""
        self._next = ts_ns + self._every
        self._open.append(_Open(ts_ns, self._mid, self._area, self._volume, noted))

    def on_book(self, ts_ns: int, bid_ticks: int, ask_ticks: int, *, sound: bool) -> list[Known[T]]:
        """Take a book update; return the samples it ends, in order of time. An unsound book is a break."""
        known = self._advance(ts_ns)
        if not sound:
            return known + self._break()
        self._mid, self._spread = 0.5 * (bid_ticks + ask_ticks), float(ask_ticks - bid_ticks)
        return known

    def on_trade(self, ts_ns: int, ticks: int, lots: int, aggressor: int) -> list[Known[T]]:
        """Take a trade (aggressor 1: buyer, 2: seller, 0: unknown); return the samples it ends."""
        known = self._advance(ts_ns)
        self._volume += lots
        if self._open and ts_ns <= self._open[-1].ts_ns + self._reach:  # later ones reach no sample
            self._prints.append((ts_ns, aggressor, float(ticks)))
        return known

    def close(self) -> list[Known[T]]:
        """End of the market: what is open is broken off."""
        return self._break()

    def _advance(self, ts_ns: int) -> list[Known[T]]:
        known: list[Known[T]] = []
        if self._ts and ts_ns - self._ts > self._gap:
            known = self._break()
        while self._open and ts_ns > self._open[0].ts_ns + self._horizon:
            known.append(self._finish(self._open.popleft()))
        if self._ts:
            self._area += self._spread * (ts_ns - self._ts)
        self._ts = ts_ns
        return known

    def _finish(self, sample: _Open[T]) -> Known[T]:
        """Value at exactly t + H: the state that stood then, since the next event came later."""
        end = sample.ts_ns + self._horizon
        area = self._area + self._spread * (end - self._ts) - sample.spread_area
        while self._prints and self._prints[0][0] <= sample.ts_ns:
            self._prints.popleft()
        near = [(side, price) for ts, side, price in self._prints if ts <= sample.ts_ns + self._reach]
        sold = max((sample.mid - price for side, price in near if side == _SELLER), default=-1.0)
        bought = max((price - sample.mid for side, price in near if side == _BUYER), default=-1.0)
        change, volume = self._mid - sample.mid, self._volume - sample.volume
        outcome = Outcome(sample.ts_ns, change, area / self._horizon, volume, sold, bought)
        return Known(sample.noted, outcome)

    def _break(self) -> list[Known[T]]:
        broken: list[Known[T]] = [Known(sample.noted, None) for sample in self._open]
        self._open.clear()
        self._prints.clear()
        return broken

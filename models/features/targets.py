"""What is to be forecast, made of what happens in (t, t + H]: mid change, mean spread, volume.

Streaming: rows wait until their horizon has passed; memory is bounded by the horizon. A row whose
horizon crosses a break or the end of the recording never gets targets and is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

MAX_SIGMAS = 5.0
REACH_S = 1.0


class Row(NamedTuple):
    """One finished sample. Raw outcomes; the scales that normalise them are among the features."""

    ts_ns: int
    mid_change_ticks: float
    mean_spread_ticks: float
    volume_lots: float
    reach_bid_ticks: float
    reach_ask_ticks: float


class _Open(NamedTuple):
    ts_ns: int
    mid: float
    spread_area: float
    volume: float


class Targets:
    """Collects outcomes. Feed it every book update and trade; take finished rows as they come.

    Parameters
    ----------
    horizon_s : float
        H.
    max_gap_s : float
        A longer silence is a break.

    """

    def __init__(self, horizon_s: float, max_gap_s: float) -> None:
        self._horizon = round(horizon_s * 1e9)
        self._reach = round(REACH_S * 1e9)
        self._gap = round(max_gap_s * 1e9)
        self._open: deque[_Open] = deque()
        self._prints: deque[tuple[int, int, float]] = deque()  # (ts, aggressor, price)
        self._ts = 0
        self._mid = 0.0
        self._spread = 0.0
        self._area = 0.0  # integral of the spread over time, ticks x ns
        self._volume = 0.0

    def sample(self, ts_ns: int) -> None:
        """Open a row at the current book; call after `on_book` of the same time."""
        self._open.append(_Open(ts_ns, self._mid, self._area, self._volume))

    def on_trade(self, ts_ns: int, ticks: int, lots: int, aggressor: int) -> Iterator[Row | int]:
        """Take a trade; yield what it finishes first."""
        yield from self._advance(ts_ns)
        self._volume += lots
        self._prints.append((ts_ns, aggressor, float(ticks)))

    def on_book(self, ts_ns: int, bid_ticks: int, ask_ticks: int, sound: bool) -> Iterator[Row | int]:
        """Take a book update. Yields finished rows, or the time of a row that was broken off."""
        yield from self._advance(ts_ns)
        if sound:
            self._mid, self._spread = 0.5 * (bid_ticks + ask_ticks), float(ask_ticks - bid_ticks)
        else:
            yield from self._break()

    def close(self) -> Iterator[int]:
        """End of the recording: rows still open are broken off."""
        yield from self._break()

    def _advance(self, ts_ns: int) -> Iterator[Row | int]:
        if self._ts and ts_ns - self._ts > self._gap:
            yield from self._break()
        while self._open and ts_ns > self._open[0].ts_ns + self._horizon:
            yield self._finish(self._open.popleft())
        if self._ts:
            self._area += self._spread * (ts_ns - self._ts)
        self._ts = ts_ns

    def _finish(self, row: _Open) -> Row:
        """Value at exactly t + H: the state that stood then, since the next event came later."""
        end = row.ts_ns + self._horizon
        area = self._area + self._spread * (end - self._ts) - row.spread_area
        while self._prints and self._prints[0][0] <= row.ts_ns:
            self._prints.popleft()
        near = [(side, price) for ts, side, price in self._prints if ts <= row.ts_ns + self._reach]
        sold = max((row.mid - price for side, price in near if side == 2), default=-1.0)
        bought = max((price - row.mid for side, price in near if side == 1), default=-1.0)
        return Row(row.ts_ns, self._mid - row.mid, area / self._horizon, self._volume - row.volume, sold, bought)

    def _break(self) -> Iterator[int]:
        while self._open:
            yield self._open.popleft().ts_ns
        self._prints.clear()

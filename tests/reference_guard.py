"""The guard and quoting hours, line by line in Python: the slow references of `strategies.guard_rules` and `quoting_hours`."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque

from market.array_book import BookState
from market.events import ASK, BID
from models.ensemble.predictor import Forecast
from strategies.guard import DataGuardConfig, FillGuardConfig, ModelGuardConfig, MoneyGuardConfig

_NS = 1_000_000_000
_CROSSED_NS = 2 * _NS
_CROSSED = BookState.CROSSED
_PROBLEMS = tuple("" if state is BookState.SOUND else state.name.lower() for state in BookState)


class RollingMinimum:
    """The least of what came within a window; remembers what may still become it, in rising order."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._kept: deque[tuple[int, int]] = deque()

    def add(self, ts_ns: int, value: int) -> int:
        """Take a value; return the least of the window that ends now."""
        kept = self._kept
        if kept and ts_ns < kept[-1][0]:  # our clock was set back: what came before is of another time
            kept.clear()
        while kept and kept[-1][1] >= value:
            kept.pop()
        kept.append((ts_ns, value))
        while kept[0][0] < ts_ns - self._window_ns:
            kept.popleft()
        return kept[0][1]


class DataGuard:
    """Whether the book can be quoted on.

    Remembers the last update, its sequence number, the least lag of a window, since when the book is
    crossed and since when all has been well. A clock that is set back begins these anew.
    """

    def __init__(self, config: DataGuardConfig) -> None:
        self._c = config
        self._lag_ns = config.max_lag_ms * 1e6 if config.max_lag_ms is not None else float("inf")
        self._least: RollingMinimum | None = None
        if config.max_lag_ms is not None:
            self._least = RollingMinimum(round(config.lag_window_s * _NS))
        self._last_ns = 0
        self._crossed_ns = 0
        self._sequence: int | None = None
        self._gap = False
        self._ill_since: str = ""
        self._well_from = 0
        self.lag_ns = 0
        """How much later the last update came than the fastest of the window; 0 where no lag is too much."""

    @property
    def needs_snapshot(self) -> bool:
        """Whether updates were lost, by their numbers or by a book that stays crossed: it is wrong until sent whole."""
        return self._gap or (self._crossed_ns != 0 and self._last_ns - self._crossed_ns > _CROSSED_NS)

    def on_book(self, ts_ns: int, ts_event: int, sequence: int, clear: bool, state: BookState) -> str:
        """Take a book update and what the book is after it; return what is wrong, or ''."""
        if self._least is not None:
            lag = ts_ns - ts_event
            self.lag_ns = lag - self._least.add(ts_ns, lag)
        if self._c.sequence != "ignore":
            self._follow(sequence, clear)
        self._last_ns = ts_ns
        self._crossed_ns = min(self._crossed_ns or ts_ns, ts_ns) if state is _CROSSED else 0
        if self._gap:
            return self._judge("gap", ts_ns)
        if state:
            return self._judge(_PROBLEMS[state], ts_ns)
        return self._judge("lagging" if self.lag_ns > self._lag_ns else "", ts_ns)

    def on_time(self, now_ns: int) -> str:
        """Time passes without an update; return what is wrong, or ''."""
        self._last_ns = min(self._last_ns, now_ns)
        if now_ns - self._last_ns > self._c.stale_s * _NS:
            return self._judge("stale", now_ns)
        return ""

    def _judge(self, problem: str, now_ns: int) -> str:
        if problem:
            self._ill_since, self._well_from = problem, 0
            return problem
        if not self._ill_since:
            return ""
        if not self._well_from or now_ns < self._well_from:
            self._well_from = now_ns
        if now_ns - self._well_from < self._c.healthy_s * _NS:
            return "recovering"
        self._ill_since = ""
        return ""

    def _follow(self, sequence: int, clear: bool) -> None:
        last, self._sequence = self._sequence, sequence
        if clear or last is None:
            self._gap = False
        elif sequence < last or (self._c.sequence == "contiguous" and sequence > last + 1):
            self._gap = True


class ModelGuard:
    """Whether a forecast may be used; remembers only what the last look at the features' range said."""

    def __init__(self, config: ModelGuardConfig) -> None:
        self.config = config
        self._deadline_ns = config.deadline_ms * 1e6 if config.deadline_ms is not None else float("inf")
        self._outside = 0
        self.broken = ""
        """Set from outside where the artifact itself is no longer what it was."""

    def range_checked(self, outside: int) -> None:
        """Take how many features lay outside their training range."""
        self._outside = outside

    def fault(self, forecast: Forecast | None, took_ns: int) -> str:
        """What is wrong with a forecast (None where it was not finite) that took so long, or ''."""
        if self.broken:
            return self.broken
        if forecast is None:
            return "not_finite"
        if took_ns > self._deadline_ns:
            return "deadline"
        if not forecast.confidence >= self.config.min_confidence:
            return "confidence"
        if self.config.max_outside is not None and self._outside > self.config.max_outside:
            return "out_of_range"
        return ""


class MoneyGuard:
    """Loss budget and drawdown of one trading day; remembers the day's highest PnL."""

    def __init__(self, config: MoneyGuardConfig, peak: float = 0.0) -> None:
        self._c = config
        self.peak = max(peak, 0.0)
        self.used = 0.0
        """Largest share of either limit in use."""

    def check(self, pnl: float) -> str:
        """Take the day's PnL; return the limit that it breaks, or ''. Not a number breaks both."""
        c = self._c
        if c.loss_budget is None and c.max_drawdown is None:
            return ""
        if math.isnan(pnl):
            return "unknown_pnl"
        self.peak = max(self.peak, pnl)
        loss = -pnl / c.loss_budget if c.loss_budget is not None else 0.0
        drawdown = (self.peak - pnl) / c.max_drawdown if c.max_drawdown is not None else 0.0
        self.used = max(loss, drawdown, 0.0)
        return "loss_budget" if loss >= 1.0 else "drawdown" if drawdown >= 1.0 else ""

    @property
    def warns(self) -> bool:
        """Whether the alarm share is in use."""
        return self.used >= self._c.warn_share


class FillGuard:
    """Pauses a side that is run over; remembers by side recent fills, the best quote, when its pause began."""

    def __init__(self, config: FillGuardConfig) -> None:
        self._c = config
        self._fills: tuple[deque[int], ...] = (deque(), deque(), deque())
        self._pause_ns = round(config.pause_s * _NS)
        self._paused_at: list[int | None] = [None, None, None]
        self._best = [0, 0, 0]

    def on_fill(self, side: int, ts_ns: int) -> bool:
        """Take a fill; return whether it pauses its side."""
        c, recent = self._c, self._fills[side]
        if c.fills is None:
            return False
        recent.append(ts_ns)
        while recent and recent[0] < ts_ns - c.within_s * _NS:
            recent.popleft()
        if len(recent) < c.fills:
            return False
        recent.clear()
        self._paused_at[side] = ts_ns
        return True

    def quoted(self, side: int, best: int) -> None:
        """A side is quoted from a best price (ticks) on; where that moved, fills count anew."""
        if best != self._best[side]:
            self._best[side] = best
            self._fills[side].clear()

    def is_paused(self, side: int, now_ns: int) -> bool:
        """Whether a side is paused; a clock that was set back does not prolong it by as much."""
        began = self._paused_at[side]
        return began is not None and 0 <= now_ns - began < self._pause_ns

    def paused(self, now_ns: int) -> tuple[bool, bool]:
        """Whether bids and asks are paused."""
        return self.is_paused(BID, now_ns), self.is_paused(ASK, now_ns)


class MessageBudget:
    """A bucket of messages that holds one second's worth; remembers its level and when it was filled."""

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._level = per_s or 0.0
        self._at = 0

    def left(self, now_ns: int) -> float:
        """Messages that may go out now."""
        if self._per_s is None:
            return float("inf")
        if now_ns > self._at:
            self._level = min(self._per_s, self._level + self._per_s * (now_ns - self._at) / _NS)
        self._at = now_ns  # also where the clock was set back: the bucket must not stay empty until it has caught up
        return self._level

    def spend(self, messages: int) -> None:
        """Messages went out; cancels may overdraw it."""
        if self._per_s is not None:
            self._level -= messages


class QuotingHours:
    """Sessions as (open, close) in ns, in order; quoting stops `stop_before_close_s` before each close."""

    def __init__(self, sessions: list[tuple[int, int]], stop_before_close_s: float) -> None:
        self._opens = [start for start, _ in sessions]
        self._stops = [end - round(stop_before_close_s * 1e9) for _, end in sessions]

    def contain(self, ts_ns: int) -> bool:
        """Whether a session is open and does not end too soon to quote in it."""
        last = bisect_right(self._opens, ts_ns) - 1
        return last >= 0 and ts_ns < self._stops[last]

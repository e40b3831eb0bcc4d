"""The guard's rules, compiled. Each state holds its part's settings and memory; answers are numbers of reasons.

`trading_state.REASON_NAMES` names what the guards of data and money hold against something, 0 being nothing;
`Fault` what is wrong with a forecast. Times are ns.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np

from market.array_book import BookState
from market.compiled import allocating, inlined
from market.events import ASK, BID
from market.records import row
from strategies.trading_state import Reason

_NS = 1_000_000_000
_CROSSED_NS = 2 * _NS  # a venue uncrosses its book at once: what stays crossed is a level whose removal was lost
_CROSSED = int(BookState.CROSSED)
_WELL = 0
_GAP, _STALE, _LAGGING, _RECOVERING = (
    reason.code for reason in (Reason.GAP, Reason.STALE, Reason.LAGGING, Reason.RECOVERING)
)
_BY_STATE = np.array(
    [_WELL, *(Reason(state.name.lower()).code for state in BookState if state is not BookState.SOUND)], np.int64
)
"""What a book in each `BookState` is held for."""


# ── the least of a window ─────────────────────────────────────────────────────────────────────

STAMP = np.dtype([("ts_ns", np.int64), ("value", np.int64)])
"""A value and when it came."""

ROLLING = np.dtype([("window_ns", np.int64), ("first", np.int64), ("end", np.int64)])
"""A window, and which rows of a table of stamps hold what may still become its least value, in rising order."""


@allocating
def with_room(rolling: Any, kept: Any) -> Any:
    """A table that one more stamp fits into: this one, or one of twice the length where it is more than half full."""
    rolling = row(rolling)
    if rolling.end < len(kept):
        return kept
    n = rolling.end - rolling.first
    table = kept if 2 * n <= len(kept) else np.zeros(2 * len(kept), kept.dtype)
    for i in range(n):
        table[i] = kept[rolling.first + i]
    rolling.first = 0
    rolling.end = n
    return table


@inlined
def rolling_least(rolling: Any, kept: Any, ts_ns: int, value: int) -> int:
    """Take a value; return the least of the window that ends now. There has to be room in `kept (n,) STAMP`."""
    rolling = row(rolling)
    if rolling.end == len(kept):
        raise IndexError("the table of stamps is full")
    if rolling.end > rolling.first and ts_ns < kept[rolling.end - 1].ts_ns:
        rolling.end = rolling.first  # our clock was set back: what came before is of another time
    while rolling.end > rolling.first and kept[rolling.end - 1].value >= value:
        rolling.end -= 1
    kept[rolling.end].ts_ns = ts_ns
    kept[rolling.end].value = value
    rolling.end += 1
    while kept[rolling.first].ts_ns < ts_ns - rolling.window_ns:
        rolling.first += 1
    least: int = kept[rolling.first].value
    return least


# ── market data ───────────────────────────────────────────────────────────────────────────────


class Sequence(IntEnum):
    """What is asked of the numbers of book updates."""

    IGNORE = 0
    RISING = 1
    CONTIGUOUS = 2


_IGNORE, _CONTIGUOUS = int(Sequence.IGNORE), int(Sequence.CONTIGUOUS)

DATA_GUARD = np.dtype(
    [
        ("stale_ns", np.float64), ("max_lag_ns", np.float64), ("healthy_ns", np.float64), ("follows", np.int64),
        ("lags", ROLLING), ("last_ns", np.int64), ("crossed_ns", np.int64), ("sequence", np.int64),
        ("has_sequence", np.bool_), ("gap", np.bool_), ("measures_lag", np.bool_), ("ill", np.int64),
        ("well_from", np.int64), ("lag_ns", np.int64),
    ],
    align=True,
)  # fmt: skip
"""Settings (`max_lag_ns` infinite where no lag is too much, `follows` a `Sequence`), then memory: the last update,
since when the book is crossed (0: it is not), the last number, whether updates are missing, what was wrong last (0:
nothing), since when all has been well (0: it is not), and how much later the last update came than the fastest of the
window."""


@inlined
def _follow(guard: Any, sequence: int, clear: bool) -> None:
    if clear or not guard.has_sequence:
        guard.gap = False
    elif sequence < guard.sequence or (guard.follows == _CONTIGUOUS and sequence > guard.sequence + 1):
        guard.gap = True
    guard.sequence = sequence
    guard.has_sequence = True


@inlined
def _judge(guard: Any, problem: int, now_ns: int) -> int:
    """What is wrong, for as long as all has to be well again before it is over."""
    if problem != _WELL:
        guard.ill = problem
        guard.well_from = 0
        return problem
    if guard.ill == _WELL:
        return _WELL
    if guard.well_from == 0 or now_ns < guard.well_from:
        guard.well_from = now_ns
    if now_ns - guard.well_from < guard.healthy_ns:
        return _RECOVERING
    guard.ill = _WELL
    return _WELL


@inlined
def data_on_book(guard: Any, kept: Any, ts_ns: int, ts_event: int, sequence: int, clear: bool, state: int) -> int:
    """Take a book update and the `BookState` after it; return what is wrong.

    `kept (n,) STAMP` belongs to `guard.lags` and has room where `guard.measures_lag`.
    """
    guard = row(guard)
    if guard.measures_lag:
        lag = ts_ns - ts_event
        guard.lag_ns = lag - rolling_least(guard.lags, kept, ts_ns, lag)
    if guard.follows != _IGNORE:
        _follow(guard, sequence, clear)
    guard.last_ns = ts_ns
    if state != _CROSSED:
        guard.crossed_ns = 0
    elif guard.crossed_ns == 0 or ts_ns < guard.crossed_ns:
        guard.crossed_ns = ts_ns
    problem = _BY_STATE[state]
    if guard.gap:
        problem = _GAP
    elif problem == _WELL and guard.lag_ns > guard.max_lag_ns:
        problem = _LAGGING
    return _judge(guard, problem, ts_ns)


@inlined
def data_on_time(guard: Any, now_ns: int) -> int:
    """Time passes without an update; return what is wrong."""
    guard = row(guard)
    guard.last_ns = min(guard.last_ns, now_ns)
    return _judge(guard, _STALE, now_ns) if now_ns - guard.last_ns > guard.stale_ns else _WELL


@inlined
def needs_snapshot(guard: Any) -> bool:
    """Whether updates were lost, by their numbers or by a book that stays crossed: it is wrong until sent whole."""
    guard = row(guard)
    stays_crossed: bool = guard.crossed_ns != 0 and guard.last_ns - guard.crossed_ns > _CROSSED_NS
    return guard.gap or stays_crossed


# ── the model ─────────────────────────────────────────────────────────────────────────────────


class Fault(IntEnum):
    """What is wrong with a forecast; names, in lower case, are what counts and journals show."""

    NONE = 0
    NOT_FINITE = 1
    DEADLINE = 2
    CONFIDENCE = 3
    OUT_OF_RANGE = 4


_NO_FAULT, _NOT_FINITE, _DEADLINE, _CONFIDENCE, _OUT_OF_RANGE = (int(fault) for fault in Fault)

MODEL_GUARD = np.dtype(
    [("min_confidence", np.float64), ("deadline_ns", np.float64), ("max_outside", np.int64), ("outside", np.int64)]
)
"""Settings (an infinite deadline and a `max_outside` of -1 are none), and how many features lay outside their training
range when that was looked at last."""


@inlined
def model_fault(guard: Any, has_forecast: bool, confidence: float, took_ns: int) -> int:
    """What is wrong with a forecast (that there is none: it was not finite) that took so long."""
    guard = row(guard)
    fault = _NO_FAULT
    if not has_forecast:
        fault = _NOT_FINITE
    elif took_ns > guard.deadline_ns:
        fault = _DEADLINE
    elif not confidence >= guard.min_confidence:
        fault = _CONFIDENCE
    elif guard.max_outside >= 0 and guard.outside > guard.max_outside:
        fault = _OUT_OF_RANGE
    return fault


# ── money ─────────────────────────────────────────────────────────────────────────────────────

_LOSS_BUDGET, _DRAWDOWN, _UNKNOWN_PNL = (
    reason.code for reason in (Reason.LOSS_BUDGET, Reason.DRAWDOWN, Reason.UNKNOWN_PNL)
)

MONEY_GUARD = np.dtype([(name, np.float64) for name in ("loss_budget", "max_drawdown", "warn_share", "peak", "used")])
"""Limits in settlement currency (NaN for none), then memory: the day's highest PnL and the largest share in use."""


@inlined
def money_check(guard: Any, pnl: float) -> int:
    """Take the day's PnL; return the limit that it breaks. Not a number breaks both."""
    guard = row(guard)
    limits_loss, limits_drawdown = not math.isnan(guard.loss_budget), not math.isnan(guard.max_drawdown)
    if not limits_loss and not limits_drawdown:
        return _WELL
    if math.isnan(pnl):
        return _UNKNOWN_PNL
    guard.peak = max(guard.peak, pnl)
    loss = -pnl / guard.loss_budget if limits_loss else 0.0
    drawdown = (guard.peak - pnl) / guard.max_drawdown if limits_drawdown else 0.0
    guard.used = max(loss, drawdown, 0.0)
    if loss >= 1.0:
        return _LOSS_BUDGET
    return _DRAWDOWN if drawdown >= 1.0 else _WELL


# ── repeated fills ────────────────────────────────────────────────────────────────────────────

FILL_GUARD = np.dtype([("fills", np.int64), ("within_ns", np.float64), ("pause_ns", np.int64)])
"""Settings; -1 fills switch it off."""

FILL_SIDE = np.dtype(
    [
        ("first", np.int64), ("count", np.int64), ("best", np.int64), ("paused_at", np.int64), ("was_paused", np.bool_),
    ],
    align=True,
)  # fmt: skip
"""One side's memory: its ring of recent fills, the best price quoted (ticks), and when its pause began. A table (3,)
has a row for each side, by its number."""


@inlined
def fill_pauses(guard: Any, sides: Any, recent: Any, side: int, ts_ns: int) -> bool:
    """Take a fill; return whether it pauses its side. `recent (3, fills) int64` are rings of times."""
    guard, own, times = row(guard), sides[side], recent[side]
    if guard.fills < 0:
        return False
    times[(own.first + own.count) % guard.fills] = ts_ns  # never full: at so many fills it is emptied
    own.count += 1
    oldest = ts_ns - guard.within_ns
    while own.count > 0 and times[own.first] < math.ceil(oldest):  # whole numbers compare exactly
        own.first = (own.first + 1) % guard.fills
        own.count -= 1
    if own.count < guard.fills:
        return False
    own.count = 0
    own.paused_at = ts_ns
    own.was_paused = True
    return True


@inlined
def quoted(sides: Any, side: int, best: int) -> None:
    """A side is quoted from a best price (ticks) on; where that moved, fills count anew."""
    own = sides[side]
    if best != own.best:
        own.best = best
        own.count = 0


@inlined
def is_paused(guard: Any, sides: Any, side: int, now_ns: int) -> bool:
    """Whether a side is paused; a clock that was set back does not prolong it by as much."""
    own = sides[side]
    lasts: bool = own.was_paused and 0 <= now_ns - own.paused_at < row(guard).pause_ns
    return lasts


@inlined
def paused_sides(guard: Any, sides: Any, now_ns: int) -> tuple[bool, bool]:
    """Whether bids and asks are paused."""
    return is_paused(guard, sides, BID, now_ns), is_paused(guard, sides, ASK, now_ns)


# ── messages ──────────────────────────────────────────────────────────────────────────────────

BUDGET = np.dtype([("per_s", np.float64), ("level", np.float64), ("at", np.int64)])
"""Messages a second (NaN: without limit), what the bucket holds, and when it was filled last."""


@inlined
def budget_left(budget: Any, now_ns: int) -> float:
    """Messages that may go out now."""
    budget = row(budget)
    if math.isnan(budget.per_s):
        return math.inf
    if now_ns > budget.at:
        budget.level = min(budget.per_s, budget.level + budget.per_s * (now_ns - budget.at) / _NS)
    budget.at = now_ns  # also where the clock was set back: the bucket must not stay empty until it has caught up
    level: float = budget.level
    return level


@inlined
def budget_spend(budget: Any, messages: int) -> None:
    """Messages went out; cancels may overdraw it."""
    budget = row(budget)
    if not math.isnan(budget.per_s):
        budget.level -= messages

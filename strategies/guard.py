"""The guard: what keeps the maker from quoting, or stops it for good. Pure: time comes in with each call.

Each part answers one question and has no memory besides its state, so that all of it is tested without an engine. The
rules are compiled (`strategies.guard_rules`). Before each single action stand the limits (`strategies.limits`).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from market.array_book import BookState
from market.records import state_of
from models.ensemble.predictor import Forecast
from strategies import guard_rules as rules
from strategies.guard_rules import Fault, Sequence
from strategies.trading_state import REASON_NAMES

_NS = 1_000_000_000
_LONGEST_NS = 1 << 62
_STAMPS = 64
_FAULT_NAMES = ("", *(fault.name.lower() for fault in Fault if fault))

type Positive = Annotated[float, Meta(gt=0)]
type Share = Annotated[float, Meta(ge=0, le=1)]


class DataGuardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When market data are not to be trusted.

    Parameters
    ----------
    stale_s : float
        Quotes are pulled after this long without an update.
    max_lag_ms : float, optional
        And while updates arrive this much later than the fastest one of the last `lag_window_s` did.
    lag_window_s : float
        The two clocks differ by what nobody knows, so that only a change of the lag can be seen, and
        within this window: one wrong time stamp, or a clock that was set, costs as long of quoting. A lag
        that lasts longer becomes what is measured against; nothing tells it from a clock that was set.
    healthy_s : float
        How long all has to be well before quoting again.
    sequence : str
        `contiguous`: a book update that skips a sequence number is a gap, healed by a snapshot only;
        `rising`: sequence numbers never fall; `ignore`.

    """

    stale_s: Positive = 5.0
    max_lag_ms: Positive | None = None
    lag_window_s: Positive = 60.0
    healthy_s: Annotated[float, Meta(ge=0)] = 1.0
    sequence: Literal["contiguous", "rising", "ignore"] = "ignore"


class ModelGuardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a forecast is not to be used, and what then.

    Parameters
    ----------
    fallback : str
        `pull` takes the quotes away; `wide` quotes symmetrically at a distance.
    wide_ticks, wide_sigmas : float
        That distance: the larger of the two, ticks and sigmas of the mid over the horizon.
    min_confidence : float
        Agreement of the students below which a forecast is not used.
    max_outside : int, optional
        Features that may lie outside their training range; looked at once a second.
    deadline_ms : float, optional
        A forecast that took longer is not used. Of no effect in a backtest, which knows no wall clock.

    """

    fallback: Literal["pull", "wide"] = "pull"
    wide_ticks: Positive = 10.0
    wide_sigmas: Positive = 3.0
    min_confidence: Share = 0.0
    max_outside: Annotated[int, Meta(ge=0)] | None = None
    deadline_ms: Positive | None = None


class MoneyGuardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to stop for good: amounts in settlement currency over a trading day, null for no limit.

    Parameters
    ----------
    loss_budget : float, optional
        PnL after fees, marked to mid, never falls below minus this.
    max_drawdown : float, optional
        Nor below the day's highest by this.
    warn_share : float
        An alarm goes out when this share of either is used.

    """

    loss_budget: Positive | None = None
    max_drawdown: Positive | None = None
    warn_share: Share = 0.8


class FillGuardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Repeated fills: `fills` on one side within `within_s`, while that side's best quote did not move,
    pause it for `pause_s`. Null switches it off."""

    fills: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    within_s: Positive = 1.0
    pause_s: Positive = 5.0


class GuardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All parts of the guard."""

    data: DataGuardConfig = DataGuardConfig()
    model: ModelGuardConfig = ModelGuardConfig()
    money: MoneyGuardConfig = MoneyGuardConfig()
    fills: FillGuardConfig = FillGuardConfig()


def data_guard_state(config: DataGuardConfig) -> Any:
    """A DATA_GUARD that has seen nothing."""
    measures = config.max_lag_ms is not None
    guard = state_of(
        rules.DATA_GUARD, stale_ns=config.stale_s * _NS, healthy_ns=config.healthy_s * _NS,
        max_lag_ns=config.max_lag_ms * 1e6 if config.max_lag_ms is not None else math.inf,
        measures_lag=measures, follows=Sequence[config.sequence.upper()],
    )  # fmt: skip
    guard["lags"]["window_ns"] = _whole_ns(config.lag_window_s)
    return guard


def model_guard_state(config: ModelGuardConfig) -> Any:
    """A MODEL_GUARD that has seen nothing."""
    return state_of(
        rules.MODEL_GUARD, min_confidence=config.min_confidence,
        deadline_ns=config.deadline_ms * 1e6 if config.deadline_ms is not None else math.inf,
        max_outside=config.max_outside if config.max_outside is not None else -1,
    )  # fmt: skip


def money_guard_state(config: MoneyGuardConfig, peak: float = 0.0) -> Any:
    """A MONEY_GUARD of a day whose highest PnL so far is `peak`."""
    loss, drawdown = (math.nan if limit is None else limit for limit in (config.loss_budget, config.max_drawdown))
    return state_of(
        rules.MONEY_GUARD, loss_budget=loss, max_drawdown=drawdown, warn_share=config.warn_share, peak=max(peak, 0.0)
    )


def fill_guard_state(config: FillGuardConfig) -> tuple[Any, Any, Any]:
    """A FILL_GUARD, the FILL_SIDE rows of its sides, and their rings of times, all empty."""
    fills = config.fills if config.fills is not None else -1
    guard = state_of(rules.FILL_GUARD, fills=fills, within_ns=config.within_s * _NS, pause_ns=_whole_ns(config.pause_s))
    return guard, np.zeros(3, rules.FILL_SIDE), np.zeros((3, max(fills, 0)), np.int64)


def budget_state(per_s: float | None) -> Any:
    """A BUDGET whose bucket is full."""
    return state_of(rules.BUDGET, per_s=per_s if per_s is not None else math.nan, level=per_s or 0.0)


def _whole_ns(seconds: float) -> int:
    return min(round(min(seconds, 1e10) * _NS), _LONGEST_NS)


class DataGuard:
    """Whether the book can be quoted on.

    Remembers the last update, its sequence number, the least lag of a window, since when the book is
    crossed and since when all has been well. A clock that is set back begins these anew.
    """

    def __init__(self, config: DataGuardConfig) -> None:
        self._state, self._kept = data_guard_state(config), np.zeros(_STAMPS, rules.STAMP)
        self._measures, self._follows = config.max_lag_ms is not None, config.sequence != "ignore"

    @property
    def lag_ns(self) -> int:
        """How much later the last update came than the fastest of the window; 0 where no lag is too much."""
        return int(self._state["lag_ns"][0])

    @property
    def needs_snapshot(self) -> bool:
        """Whether updates were lost, by their numbers or by a book that stays crossed: it is wrong until sent whole."""
        return rules.needs_snapshot(self._state)

    def on_book(self, ts_ns: int, ts_event: int, sequence: int, clear: bool, state: BookState) -> str:
        """Take a book update and what the book is after it; return what is wrong, or ''."""
        if self._measures:
            self._kept = rules.with_room(self._state["lags"], self._kept)
        number = sequence if self._follows else 0
        return REASON_NAMES[rules.data_on_book(self._state, self._kept, ts_ns, ts_event, number, clear, int(state))]

    def on_time(self, now_ns: int) -> str:
        """Time passes without an update; return what is wrong, or ''."""
        return REASON_NAMES[rules.data_on_time(self._state, now_ns)]


class ModelGuard:
    """Whether a forecast may be used; remembers only what the last look at the features' range said."""

    def __init__(self, config: ModelGuardConfig) -> None:
        self.config = config
        self._state = model_guard_state(config)
        self.broken = ""
        """Set from outside where the artifact itself is no longer what it was."""

    def range_checked(self, outside: int) -> None:
        """Take how many features lay outside their training range."""
        self._state["outside"] = outside

    def fault(self, forecast: Forecast | None, took_ns: int) -> str:
        """What is wrong with a forecast (None where it was not finite) that took so long, or ''."""
        if self.broken:
            return self.broken
        confidence = forecast.confidence if forecast is not None else math.nan
        return _FAULT_NAMES[rules.model_fault(self._state, forecast is not None, confidence, took_ns)]


class MoneyGuard:
    """Loss budget and drawdown of one trading day; remembers the day's highest PnL."""

    def __init__(self, config: MoneyGuardConfig, peak: float = 0.0) -> None:
        self._c = config
        self._state = money_guard_state(config, peak)

    @property
    def peak(self) -> float:
        """The day's highest PnL."""
        return float(self._state["peak"][0])

    @peak.setter
    def peak(self, pnl: float) -> None:
        self._state["peak"] = pnl

    @property
    def used(self) -> float:
        """Largest share of either limit in use."""
        return float(self._state["used"][0])

    @used.setter
    def used(self, share: float) -> None:
        self._state["used"] = share

    def check(self, pnl: float) -> str:
        """Take the day's PnL; return the limit that it breaks, or ''. Not a number breaks both."""
        return REASON_NAMES[rules.money_check(self._state, float(pnl))]

    @property
    def warns(self) -> bool:
        """Whether the alarm share is in use."""
        return self.used >= self._c.warn_share


class FillGuard:
    """Pauses a side that is run over; remembers by side recent fills, the best quote, when its pause began."""

    def __init__(self, config: FillGuardConfig) -> None:
        self._guard, self._sides, self._recent = fill_guard_state(config)

    def on_fill(self, side: int, ts_ns: int) -> bool:
        """Take a fill; return whether it pauses its side."""
        return rules.fill_pauses(self._guard, self._sides, self._recent, side, ts_ns)

    def quoted(self, side: int, best: int) -> None:
        """A side is quoted from a best price (ticks) on; where that moved, fills count anew."""
        rules.quoted(self._sides, side, best)

    def is_paused(self, side: int, now_ns: int) -> bool:
        """Whether a side is paused; a clock that was set back does not prolong it by as much."""
        return rules.is_paused(self._guard, self._sides, side, now_ns)

    def paused(self, now_ns: int) -> tuple[bool, bool]:
        """Whether bids and asks are paused."""
        return rules.paused_sides(self._guard, self._sides, now_ns)


class MessageBudget:
    """A bucket of messages that holds one second's worth; remembers its level and when it was filled."""

    def __init__(self, per_s: float | None) -> None:
        self._state = budget_state(per_s)

    def left(self, now_ns: int) -> float:
        """Messages that may go out now."""
        return rules.budget_left(self._state, now_ns)

    def spend(self, messages: int) -> None:
        """Messages went out; cancels may overdraw it."""
        rules.budget_spend(self._state, messages)

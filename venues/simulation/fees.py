"""Fees: one schedule for the simulated venue, for the quoter's break-even and for re-pricing fills."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from nautilus_trader.execution import FeeModel
from nautilus_trader.model import Currency, LimitOrder, Money, OrderSide, Price, Quantity

from market.compiled import inlined, record_of
from market.contracts import Contract, Fees
from market.errors import ConfigError
from market.events import ASK, BID
from market.nautilus import Instrument, NautilusInstrument
from market.valuation import VALUE, tick_value, turnover

type FeeScenario = Literal["exchange", "zero", "rebate"]
SCENARIOS: tuple[FeeScenario, ...] = ("rebate", "zero", "exchange")

_YESTERDAY, _TODAY = 0, 1
_TIERS = 16

FEES = np.dtype(
    [
        ("maker", np.float64),
        ("taker", np.float64),
        ("close", np.float64),  # NaN: as opening
        ("close_today", np.float64),  # NaN: as `close`
        ("lot_open", np.float64),
        ("lot_close", np.float64),
        ("lot_close_today", np.float64),  # NaN: as `lot_close`
        ("tiers", np.int64),
        ("tier_turnover", np.float64, (_TIERS,)),  # rising
        ("tier_maker", np.float64, (_TIERS,)),
        ("tier_taker", np.float64, (_TIERS,)),
        ("locks", np.bool_),  # may open the other way instead of closing
        ("by_choice", np.bool_),  # an order says which day's position it closes
        ("turnover", np.float64),  # so far
        ("long", np.int64, (2,)),  # lots of earlier days, and of today
        ("short", np.int64, (2,)),
        ("value", VALUE),
    ],
    align=True,
)
"""A schedule and what it has to remember."""


@inlined
def charge(fees, side, price_ticks, lots, is_maker):  # type: ignore[no-untyped-def]
    """Cost of a fill in settlement currency, negative for a rebate; the fill is remembered."""
    own, other = (fees.long, fees.short) if side == BID else (fees.short, fees.long)
    value = turnover(fees.value, price_ticks)
    first = _YESTERDAY
    if fees.by_choice and _close(fees, value, is_maker, _TODAY) < _close(fees, value, is_maker, _YESTERDAY):
        first = _TODAY
    opening = _open(fees, value, is_maker)
    cost, left = 0.0, lots
    for turn in range(2):
        day = first if turn == 0 else 1 - first
        closing = min(left, other[day])
        if closing == 0:
            continue
        unit = _close(fees, value, is_maker, day)
        left -= closing
        locked = _locked(fees, value, is_maker)
        if day == _TODAY and locked < unit:
            own[_TODAY] += closing
            cost += closing * locked
        else:
            other[day] -= closing
            cost += closing * unit
    own[_TODAY] += left
    cost += left * opening
    fees.turnover += lots * value
    return cost


@inlined
def break_even_ticks(fees, price_ticks):  # type: ignore[no-untyped-def]
    """Half of what a maker's round trip of one lot costs, in ticks: the half-spread that earns nothing."""
    value = turnover(fees.value, price_ticks)
    opening, closing = _open(fees, value, True), _close(fees, value, True, _TODAY)
    locked = _locked(fees, value, True)
    if not np.isnan(locked):
        closing = min(closing, locked)
    return 0.5 * (opening + closing) / tick_value(fees.value, price_ticks)


@inlined
def locked_lots(fees):  # type: ignore[no-untyped-def]
    """Lots held both long and short."""
    return min(fees.long[0] + fees.long[1], fees.short[0] + fees.short[1])


@inlined
def _locked(fees, value, is_maker):  # type: ignore[no-untyped-def]
    """Cost a lot of opening the other way and closing both legs on another day; NaN where nobody would.

    Only a dearer close of today's position is a reason to lock: a rebate, which opening and closing
    both earn, must not be earned three times over.
    """
    later = _close(fees, value, is_maker, _YESTERDAY)
    if not fees.locks or _close(fees, value, is_maker, _TODAY) <= later:
        return np.nan
    return _open(fees, value, is_maker) + 2.0 * later


@inlined
def _rate(fees, is_maker):  # type: ignore[no-untyped-def]
    rate = fees.maker if is_maker else fees.taker
    for i in range(fees.tiers):
        if fees.turnover >= fees.tier_turnover[i]:
            rate = fees.tier_maker[i] if is_maker else fees.tier_taker[i]
    return rate


@inlined
def _open(fees, value, is_maker):  # type: ignore[no-untyped-def]
    return _rate(fees, is_maker) * value + fees.lot_open


@inlined
def _close(fees, value, is_maker, day):  # type: ignore[no-untyped-def]
    rate, amount = fees.close, fees.lot_close
    if day == _TODAY:
        rate = fees.close if np.isnan(fees.close_today) else fees.close_today
        amount = fees.lot_close if np.isnan(fees.lot_close_today) else fees.lot_close_today
    return (_rate(fees, is_maker) if np.isnan(rate) else rate) * value + amount


class FeesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which fees are charged.

    Parameters
    ----------
    scenario : str
        The contract table's, none, or a maker rebate.
    rebate : float
        Of the rebate scenario, fraction of turnover.
    lock : bool
        Where an exchange keeps long and short apart: open the other way instead of closing, where that
        is cheaper, both legs' later closing included.
    turnover : float
        What counts towards the volume tier before the first fill (settlement currency).

    """

    scenario: FeeScenario = "exchange"
    rebate: Annotated[float, Meta(ge=0)] = 0.00002
    lock: bool = False
    turnover: Annotated[float, Meta(ge=0)] = 0.0


def fees_of(contract: Contract, scenario: FeeScenario, config: FeesConfig) -> Fees:
    """The contract's fees under a scenario."""
    if scenario == "exchange":
        return contract.terms.fees
    return Fees(maker=-config.rebate) if scenario == "rebate" else Fees()


class FeeSchedule:
    """Charges fills in order; knows which part of a fill closes, and a position of which day.

    Long and short positions are kept apart, as Chinese futures exchanges keep them. A fill closes the
    other side first: on CFFEX, DCE and CZCE the oldest position goes first, on SHFE and INE the order
    says whether it closes today's, so that the cheaper one goes first. Episodes start flat unless told
    otherwise.

    Parameters
    ----------
    contract : Contract
    fees : Fees
    config : FeesConfig, optional
        `lock` opens the other way where closing today's position costs more than opening now and
        closing both legs on another day; that later cost is charged at once. `turnover` is what
        counted towards the volume tier before the first fill.
    overnight : tuple[int, int]
        Lots long and short from earlier days.

    """

    def __init__(
        self,
        contract: Contract,
        fees: Fees,
        config: FeesConfig | None = None,
        overnight: tuple[int, int] = (0, 0),
    ) -> None:
        config = config if config is not None else FeesConfig()
        if len(fees.tiers) > _TIERS:
            raise ConfigError(f"{contract.id}: fees have {len(fees.tiers)} tiers; at most {_TIERS} are known")
        self.record: Any = record_of(
            FEES,
            maker=fees.maker,
            taker=fees.taker,
            close=_number(fees.close),
            close_today=_number(fees.close_today),
            lot_open=fees.lot_open,
            lot_close=fees.lot_close,
            lot_close_today=_number(fees.lot_close_today),
            tiers=len(fees.tiers),
            locks=config.lock and contract.keeps_both_sides,
            by_choice=contract.closes_by_choice,
            turnover=config.turnover,
            long=(overnight[0], 0),
            short=(overnight[1], 0),
            value=contract.mark_value.state()[0],
        )
        for i, tier in enumerate(fees.tiers):
            self.record["tier_turnover"][i] = tier.turnover
            self.record["tier_maker"][i], self.record["tier_taker"][i] = tier.maker, tier.taker

    @property
    def locked_lots(self) -> int:
        """Lots held both long and short."""
        return int(locked_lots(self.record))

    def charge(self, side: int, price_ticks: float, lots: int, *, is_maker: bool) -> float:
        """Cost of a fill in settlement currency, negative for a rebate."""
        return float(charge(self.record, side, float(price_ticks), lots, is_maker))

    def break_even_ticks(self, price_ticks: float) -> float:
        """Half of what a maker's round trip of one lot costs, in ticks: the half-spread that earns nothing."""
        return float(break_even_ticks(self.record, float(price_ticks)))


def _number(value: float | None) -> float:
    return value if value is not None else float("nan")


class ScheduledFees(FeeModel):
    """The schedule as Nautilus' fee model; Nautilus asks once a fill, in order."""

    def __new__(cls, *args: object) -> ScheduledFees:
        model: ScheduledFees = super().__new__(cls)
        return model

    def __init__(self, schedule: FeeSchedule, contract: Contract) -> None:
        self.schedule = schedule
        self._currency = Currency.from_str(contract.terms.currency)
        self._instrument = Instrument(contract)

    def get_commission(
        self, order: LimitOrder, fill_quantity: Quantity, fill_px: Price, instrument: NautilusInstrument
    ) -> Money:
        side = BID if order.side == OrderSide.BUY else ASK
        ticks = fill_px.raw / self._instrument.tick_raw  # Nautilus averages prices: not always a whole tick
        cost = self.schedule.charge(side, ticks, self._instrument.lots(fill_quantity), is_maker=order.is_post_only)
        return Money(cost, self._currency)

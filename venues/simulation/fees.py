"""Fees: one schedule for the simulated venue, for the quoter's break-even and for re-pricing fills."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from nautilus_trader.execution import FeeModel
from nautilus_trader.model import Currency, LimitOrder, Money, OrderSide, Price, Quantity

from market.contracts import Contract, Fees
from market.events import ASK, BID
from market.nautilus import Instrument, NautilusInstrument

type FeeScenario = Literal["exchange", "zero", "rebate"]
SCENARIOS: tuple[FeeScenario, ...] = ("rebate", "zero", "exchange")

_YESTERDAY, _TODAY = 0, 1


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
        self._contract, self._fees = contract, fees
        self._config = config if config is not None else FeesConfig()
        self._turnover = self._config.turnover
        self._long, self._short = [overnight[0], 0], [overnight[1], 0]  # yesterday's, today's

    @property
    def locked_lots(self) -> int:
        """Lots held both long and short."""
        return min(sum(self._long), sum(self._short))

    def charge(self, side: int, price_ticks: float, lots: int, *, is_maker: bool) -> float:
        """Cost of a fill in settlement currency, negative for a rebate."""
        own, other = (self._long, self._short) if side == BID else (self._short, self._long)
        value = self._contract.turnover(price_ticks)
        opening = self._open(value, is_maker)
        cost, left = 0.0, lots
        days = [_YESTERDAY, _TODAY]
        if self._contract.closes_by_choice:
            days.sort(key=lambda day: self._close(value, is_maker, day))
        for day in days:
            closing = min(left, other[day])
            if not closing:
                continue
            unit = self._close(value, is_maker, day)
            left -= closing
            locked = self._locked(value, is_maker)
            if day == _TODAY and locked is not None and locked < unit:
                own[_TODAY] += closing
                cost += closing * locked
            else:
                other[day] -= closing
                cost += closing * unit
        own[_TODAY] += left
        cost += left * opening
        self._turnover += lots * value
        return cost

    def break_even_ticks(self, price_ticks: float) -> float:
        """Half of what a maker's round trip of one lot costs, in ticks: the half-spread that earns nothing."""
        value = self._contract.turnover(price_ticks)
        opening, closing = self._open(value, True), self._close(value, True, _TODAY)
        locked = self._locked(value, True)
        if locked is not None:
            closing = min(closing, locked)
        return 0.5 * (opening + closing) / self._contract.tick_value(price_ticks)

    def _locked(self, value: float, is_maker: bool) -> float | None:
        """Cost a lot of opening the other way and closing both legs on another day; None where nobody would.

        Only a dearer close of today's position is a reason to lock: a rebate, which opening and closing
        both earn, must not be earned three times over.
        """
        later = self._close(value, is_maker, _YESTERDAY)
        if not (self._config.lock and self._contract.keeps_both_sides) or (
            self._close(value, is_maker, _TODAY) <= later
        ):
            return None
        return self._open(value, is_maker) + 2.0 * later

    def _rate(self, is_maker: bool) -> float:
        rates = (self._fees.maker, self._fees.taker)
        for tier in self._fees.tiers:  # rising
            if self._turnover >= tier.turnover:
                rates = (tier.maker, tier.taker)
        return rates[0] if is_maker else rates[1]

    def _open(self, value: float, is_maker: bool) -> float:
        return self._rate(is_maker) * value + self._fees.lot_open

    def _close(self, value: float, is_maker: bool, day: int) -> float:
        f = self._fees
        rate, amount = f.close, f.lot_close
        if day == _TODAY:
            rate = f.close if f.close_today is None else f.close_today
            amount = f.lot_close if f.lot_close_today is None else f.lot_close_today
        return (self._rate(is_maker) if rate is None else rate) * value + amount


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

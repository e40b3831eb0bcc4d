"""Fees: one schedule for the simulated venue, for the quoter's break-even and for re-pricing fills."""

from __future__ import annotations

from typing import Any

from nautilus_trader.execution import FeeModel
from nautilus_trader.model import Currency, Money

from engine.config import FeeScenario, FeesConfig
from strategies.values import BID
from venues.contracts import Contract, Fees

SCENARIOS: tuple[FeeScenario, ...] = ("rebate", "zero", "exchange")


def fees_of(contract: Contract, scenario: FeeScenario, config: FeesConfig) -> Fees:
    """The contract's fees under a scenario."""
    if scenario == "exchange":
        return contract.terms.fees
    return Fees(maker=-config.rebate) if scenario == "rebate" else Fees()


class FeeSchedule:
    """Charges fills in order; knows which part of a fill closes a position opened the same day.

    Every episode starts flat, so that closing is always closing today.
    """

    def __init__(self, contract: Contract, fees: Fees) -> None:
        self._contract, self._fees = contract, fees
        self._position = 0

    def charge(self, side: int, price_ticks: float, lots: int, is_maker: bool) -> float:
        """Cost of a fill in quote currency, negative for a rebate."""
        signed = lots if side == BID else -lots
        closing = min(lots, abs(self._position)) if signed * self._position < 0 else 0
        self._position += signed
        return self._cost(price_ticks, lots - closing, is_maker, False) + self._cost(
            price_ticks, closing, is_maker, True
        )

    def break_even_ticks(self, price_ticks: float) -> float:
        """Half of what a maker's round trip of one lot costs, in ticks: the half-spread that earns nothing."""
        trip = self._cost(price_ticks, 1, True, False) + self._cost(price_ticks, 1, True, True)
        return 0.5 * trip / self._contract.value_per_tick_lot

    def _cost(self, price_ticks: float, lots: int, is_maker: bool, closes: bool) -> float:
        f = self._fees
        rate = f.maker if is_maker else f.taker
        amount = f.lot_open
        if closes:
            stated = f.close_today if f.close_today is not None else f.close
            rate = rate if stated is None else stated
            amount = f.lot_close if f.lot_close_today is None else f.lot_close_today
        return lots * (rate * price_ticks * self._contract.value_per_tick_lot + amount)


class ScheduledFees(FeeModel):  # type: ignore[misc]
    """The schedule as Nautilus' fee model; Nautilus asks once a fill, in order."""

    def __new__(cls, *args: Any) -> ScheduledFees:
        model: ScheduledFees = super().__new__(cls)
        return model

    def __init__(self, schedule: FeeSchedule, contract: Contract, tick_raw: int, lot_raw: int) -> None:
        self._schedule = schedule
        self._currency = Currency.from_str(contract.terms.currency)
        self._tick_raw, self._lot_raw = tick_raw, lot_raw

    def get_commission(self, order: Any, fill_quantity: Any, fill_px: Any, instrument: Any) -> Money:
        side = 1 if order.side.name == "BUY" else 2
        cost = self._schedule.charge(
            side, fill_px.raw / self._tick_raw, fill_quantity.raw // self._lot_raw, order.is_post_only
        )
        return Money(cost, self._currency)

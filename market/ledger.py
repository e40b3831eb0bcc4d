"""What our fills have earned: money in and out, the position, and the trading day's PnL."""

from __future__ import annotations

from typing import Any

import numpy as np

from market.compiled import inlined
from market.events import BID
from market.records import row, state_of
from market.valuation import PLAIN, VALUE, Valuation, mark_value

LEDGER = np.dtype(
    [("position", np.int64), ("flow", np.float64), ("base", np.float64), ("value", VALUE)],
    align=True,
)
"""Lots, money in and out (fees included), equity at the start of the trading day, and what a lot is worth."""


@inlined
def on_fill(ledger: Any, side: int, price: int, lots: int, commission: float) -> None:
    """Count a fill."""
    ledger = row(ledger)
    signed = lots if side == BID else -lots
    ledger.position += signed
    ledger.flow -= signed * mark_value(ledger.value, float(price)) + commission


@inlined
def equity(ledger: Any, mid_ticks: float) -> float:
    """Money in and out plus the position at mid."""
    ledger = row(ledger)
    worth: float = ledger.flow + ledger.position * mark_value(ledger.value, mid_ticks)
    return worth


@inlined
def pnl(ledger: Any, mid_ticks: float) -> float:
    """What the trading day has earned so far, after fees."""
    earned: float = equity(ledger, mid_ticks) - row(ledger).base
    return earned


@inlined
def new_day(ledger: Any, mid_ticks: float) -> None:
    """A trading day begins: its PnL counts from here."""
    row(ledger).base = equity(ledger, mid_ticks)


class Ledger:
    """Cash flow and position of one instrument, from fills alone.

    Parameters
    ----------
    mark_value : Valuation
        Value of one lot held long at a price (ticks), up to a constant, settlement currency.
    position : int
        Lots at the start.
    flow : float
        Money in and out so far, fees included.
    base : float
        Equity at the start of the trading day, as `equity` counts it.

    """

    def __init__(self, mark_value: Valuation = PLAIN, position: int = 0, flow: float = 0.0, base: float = 0.0) -> None:
        self.state = state_of(LEDGER, position=position, flow=flow, base=base, value=mark_value.state())

    @property
    def position(self) -> int:
        """Lots held."""
        return int(self.state["position"][0])

    @property
    def flow(self) -> float:
        """Money in and out so far, fees included."""
        return float(self.state["flow"][0])

    @property
    def base(self) -> float:
        """Equity at the start of the trading day."""
        return float(self.state["base"][0])

    def on_fill(self, side: int, price: int, lots: int, commission: float) -> None:
        """Count a fill."""
        on_fill(self.state, side, price, lots, commission)

    def equity(self, mid_ticks: float) -> float:
        """Money in and out plus the position at mid."""
        return equity(self.state, mid_ticks)

    def pnl(self, mid_ticks: float) -> float:
        """What the trading day has earned so far, after fees."""
        return pnl(self.state, mid_ticks)

    def new_day(self, mid_ticks: float) -> None:
        """A trading day begins: its PnL counts from here."""
        new_day(self.state, mid_ticks)

"""What our fills have earned: money in and out, the position, and the trading day's PnL."""

from __future__ import annotations

from collections.abc import Callable

from market.events import BID


class Ledger:
    """Cash flow and position of one instrument, from fills alone.

    Parameters
    ----------
    mark_value : callable
        Value of one lot held long at a price (ticks), up to a constant, settlement currency.
    position : int
        Lots at the start.
    flow : float
        Money in and out so far, fees included.
    base : float
        Equity at the start of the trading day, as `equity` counts it.

    """

    def __init__(
        self, mark_value: Callable[[float], float] = float, position: int = 0, flow: float = 0.0, base: float = 0.0
    ) -> None:
        self._mark_value = mark_value
        self.position, self.flow, self.base = position, flow, base

    def on_fill(self, side: int, price: int, lots: int, commission: float) -> None:
        """Count a fill."""
        signed = lots if side == BID else -lots
        self.position += signed
        self.flow -= signed * self._mark_value(float(price)) + commission

    def equity(self, mid_ticks: float) -> float:
        """Money in and out plus the position at mid."""
        return self.flow + self.position * self._mark_value(mid_ticks)

    def pnl(self, mid_ticks: float) -> float:
        """What the trading day has earned so far, after fees."""
        return self.equity(mid_ticks) - self.base

    def new_day(self, mid_ticks: float) -> None:
        """A trading day begins: its PnL counts from here."""
        self.base = self.equity(mid_ticks)

"""The one account of the loopback exchange: position, exact money, and every execution."""

from __future__ import annotations

from decimal import Decimal

from venues.loopback.orders import Execution

_QUANTUM = Decimal("1e-8")


class Account:
    """Position at average entry, cash flow by fills.

    Parameters
    ----------
    cash : Decimal
        Wallet balance at the start.

    """

    def __init__(self, cash: Decimal) -> None:
        self.start_cash = cash
        self.position = 0
        """Lots, signed."""
        self.entry_value = Decimal(0)
        """What the position cost, signed."""
        self.flow = Decimal(0)
        """Money in and out by fills, fees included."""
        self.fees = Decimal(0)
        self.executions: list[Execution] = []

    @property
    def wallet(self) -> Decimal:
        """Balance after realised PnL and fees."""
        return self.start_cash + self.flow + self.entry_value

    def unrealised(self, mark: Decimal, lot: Decimal) -> Decimal:
        """PnL of the open position at a mark price."""
        return self.position * lot * mark - self.entry_value

    def fill(self, signed_lots: int, lot_value: Decimal, rate: Decimal) -> Decimal:
        """Book a fill; return its fee.

        Parameters
        ----------
        signed_lots : int
            Bought positive.
        lot_value : Decimal
            Turnover of one lot, positive.
        rate : Decimal
            Fee as a fraction of turnover.

        """
        lots, sign = abs(signed_lots), 1 if signed_lots > 0 else -1
        value = lots * lot_value
        fee = (value * rate).quantize(_QUANTUM)
        self.flow -= sign * value + fee
        self.fees += fee
        if self.position * signed_lots >= 0:
            self.entry_value += sign * value
        else:
            held = abs(self.position)
            closed = min(lots, held)
            self.entry_value = (self.entry_value * (Decimal(held - closed) / held)).quantize(_QUANTUM)
            self.entry_value += sign * (lots - closed) * lot_value
        self.position += signed_lots
        return fee

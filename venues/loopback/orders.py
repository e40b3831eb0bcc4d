"""What the loopback exchange deals in: the contract's terms, orders of the account, its executions, public trades.

Prices are integer ticks, sizes integer lots, times nanoseconds; money is exact (`Decimal`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

type TimeInForce = Literal["GTC", "IOC", "FOK", "PostOnly"]
type OrderKind = Literal["Limit", "Market"]
type OrderStatus = Literal["New", "PartiallyFilled", "Filled", "Cancelled", "Rejected", "PartiallyFilledCanceled"]

_FINAL = frozenset({"Filled", "Cancelled", "Rejected", "PartiallyFilledCanceled"})


class Terms(msgspec.Struct, frozen=True):
    """The contract: step sizes, fees as fractions of turnover, limits of the venue."""

    symbol: str
    tick: Decimal
    lot: Decimal
    maker: Decimal
    taker: Decimal
    max_orders: int = 500
    coin: str = "USDT"
    base: str = "BTC"

    def value(self, price: int, lots: int) -> Decimal:
        """Turnover of `lots` at a price, in settlement currency."""
        return price * self.tick * lots * self.lot


class Order(msgspec.Struct, eq=False):
    """An order of the account; its time in force is what the client asked for."""

    order_id: str
    link_id: str
    side: int
    price: int
    lots: int
    left: int
    tif: str
    kind: OrderKind
    created_ns: int
    updated_ns: int
    status: OrderStatus = "New"
    reason: str = "EC_NoError"
    cancel_type: str = "UNKNOWN"
    reduce_only: bool = False
    value: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)

    @property
    def is_open(self) -> bool:
        return self.status not in _FINAL

    @property
    def done(self) -> int:
        """Lots filled so far."""
        return self.lots - self.left


class Execution(msgspec.Struct, frozen=True):
    """One fill of the account; `left`, `order_lots` and `order_price` are the order's after it."""

    exec_id: str
    order_id: str
    link_id: str
    side: int
    price: int
    lots: int
    left: int
    order_lots: int
    order_price: int
    fee: Decimal
    is_maker: bool
    ts_ns: int
    seq: int


class PublicTrade(msgspec.Struct, frozen=True):
    """One trade as the public sees it."""

    price: int
    lots: int
    aggressor: int
    ts_ns: int
    seq: int

"""Working orders and the ledger, line by line in Python: the slow references of `strategies.order_table` and
`market.ledger`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from market.events import BID
from strategies.order_table import State


class Exposure:
    """Position and what is at the venue, whatever its state: a cancel under way may still fill."""

    def __init__(self) -> None:
        self.position = 0
        self.buys = 0
        self.sells = 0
        self.orders = 0


_ASKED = (State.SENT, State.CHANGING)


class Order(msgspec.Struct):
    """One working order by its client id; `beyond_depth` when it was placed where the feed shows no queue. `since_ns`
    is when it was last sent, amended or cancelled by us."""

    key: str
    side: int
    price: int
    left: int
    state: State
    beyond_depth: bool
    since_ns: int = 0
    filled: int = 0


class WorkingOrders:
    """Orders by key with running totals; every event is taken at most once and in any order."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self.exposure = Exposure()

    def __len__(self) -> int:
        return len(self._orders)

    def get(self, key: str) -> Order | None:
        return self._orders.get(key)

    def all(self) -> list[Order]:
        return list(self._orders.values())

    def touchable(self, side: int) -> list[Order]:
        """Orders of a side that stand or are about to, and have no change under way."""
        return [o for o in self._orders.values() if o.side == side and o.state <= State.RESTING]

    def standing(self) -> tuple[tuple[int, int, bool], ...]:
        """(side, price, whether a placement or amendment is unanswered) of everything that may still fill."""
        return tuple([(o.side, o.price, o.state in _ASKED) for o in self._orders.values()])

    def unanswered(self, before_ns: int) -> list[Order]:
        """Orders that wait for the venue's word since before a time: what became of them is unknown."""
        return [o for o in self._orders.values() if o.state != State.RESTING and o.since_ns < before_ns]

    def sent(self, key: str, side: int, price: int, size: int, *, beyond_depth: bool = False, now_ns: int = 0) -> None:
        self._orders[key] = Order(key, side, price, size, State.SENT, beyond_depth, now_ns)
        self.exposure.orders += 1
        self._shift(side, size)

    def accepted(self, key: str) -> None:
        order = self._orders.get(key)
        if order is not None and order.state == State.SENT:
            order.state = State.RESTING

    def resized(self, key: str, left: int) -> None:
        """The venue says how much is left after an amendment (or its refusal)."""
        order = self._orders.get(key)
        if order is not None:
            self._shift(order.side, left - order.left)
            order.left = left
            if order.state == State.CHANGING:
                order.state = State.RESTING
            if left <= 0:
                self.gone(key)

    def filled(self, key: str, size: int) -> Order | None:
        """Count a fill into the position; the order is returned as it was placed."""
        order = self._orders.get(key)
        if order is None:
            return None
        self.exposure.position += size if order.side == BID else -size
        order.left -= size
        order.filled += size
        self._shift(order.side, -size)
        if order.left <= 0:
            self.gone(key)
        return order

    def gone(self, key: str) -> None:
        """Cancelled, rejected, expired or filled: nothing of it can fill any more."""
        order = self._orders.pop(key, None)
        if order is not None:
            self.exposure.orders -= 1
            self._shift(order.side, -order.left)

    def _shift(self, side: int, size: int) -> None:
        if side == BID:
            self.exposure.buys += size
        else:
            self.exposure.sells += size


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

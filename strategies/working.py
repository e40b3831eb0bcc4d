"""Our orders at the venue, kept by what order events say of them."""

from __future__ import annotations

from enum import IntEnum

import msgspec
from nautilus_trader.model import ClientOrderId

from market.events import BID
from strategies.limits import Exposure


class State(IntEnum):
    """Where an order is on its way."""

    SENT = 0
    RESTING = 1
    CHANGING = 2
    CANCELLING = 3


_ASKED = (State.SENT, State.CHANGING)


class Order(msgspec.Struct):
    """One working order by its client id; `beyond_depth` when it was placed where the feed shows no queue. `since_ns`
    is when it was last sent, amended or cancelled by us."""

    key: ClientOrderId
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
        self._orders: dict[ClientOrderId, Order] = {}
        self.exposure = Exposure()

    def __len__(self) -> int:
        return len(self._orders)

    def get(self, key: ClientOrderId) -> Order | None:
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

    def sent(
        self, key: ClientOrderId, side: int, price: int, size: int, *, beyond_depth: bool = False, now_ns: int = 0
    ) -> None:
        self._orders[key] = Order(key, side, price, size, State.SENT, beyond_depth, now_ns)
        self.exposure.orders += 1
        self._shift(side, size)

    def accepted(self, key: ClientOrderId) -> None:
        order = self._orders.get(key)
        if order is not None and order.state == State.SENT:
            order.state = State.RESTING

    def resized(self, key: ClientOrderId, left: int) -> None:
        """The venue says how much is left after an amendment (or its refusal)."""
        order = self._orders.get(key)
        if order is not None:
            self._shift(order.side, left - order.left)
            order.left = left
            if order.state == State.CHANGING:
                order.state = State.RESTING
            if left <= 0:
                self.gone(key)

    def filled(self, key: ClientOrderId, size: int) -> Order | None:
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

    def gone(self, key: ClientOrderId) -> None:
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

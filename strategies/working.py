"""Our orders at the venue, kept by what order events say of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from nautilus_trader.model import ClientOrderId

from market.records import state_of
from strategies import order_table
from strategies.limits import Exposure
from strategies.order_table import ORDER, TOTALS, State

_ASKED = (State.SENT, State.CHANGING)
_STATES = tuple(State)
_UNKNOWN = 0  # no order has this key
_FIRST_ROOM = 32


class Order(NamedTuple):
    """One working order by its client id, as it is now: see `order_table.ORDER`."""

    key: ClientOrderId
    side: int
    price: int
    left: int
    state: State
    beyond_depth: bool
    since_ns: int
    filled: int


class WorkingOrders:
    """Orders by key with running totals; every event is taken at most once and in any order."""

    def __init__(self, position: int = 0) -> None:
        self._table = np.zeros(_FIRST_ROOM, ORDER)
        self._totals = state_of(TOTALS, position=position)
        self._numbers: dict[ClientOrderId, int] = {}
        self._names: dict[int, ClientOrderId] = {}
        self._all: list[Order] | None = []

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def exposure(self) -> Exposure:
        """Position and what is at the venue."""
        _, position, buys, sells, orders, _ = self._totals.item()
        return Exposure(position, buys, sells, orders)

    def get(self, key: ClientOrderId) -> Order | None:
        number = self._numbers.get(key)
        if number is None:
            return None
        return self._order(self._table[order_table.find(self._table, self._totals, number)].item())

    def all(self) -> list[Order]:
        if self._all is None:
            self._all = [self._order(row) for row in self._table[: len(self)].tolist()]
        return self._all

    def touchable(self, side: int) -> list[Order]:
        """Orders of a side that stand or are about to, and have no change under way."""
        return [o for o in self.all() if o.side == side and o.state <= State.RESTING]

    def standing(self) -> tuple[tuple[int, int, bool], ...]:
        """(side, price, whether a placement or amendment is unanswered) of everything that may still fill."""
        return tuple([(o.side, o.price, o.state in _ASKED) for o in self.all()])

    def unanswered(self, before_ns: int) -> int:
        """How many orders wait for the venue's word since before a time: what became of them is unknown."""
        return order_table.unanswered(self._table, self._totals, before_ns)

    def sent(
        self, key: ClientOrderId, side: int, price: int, size: int, *, beyond_depth: bool = False, now_ns: int = 0
    ) -> None:
        if len(self) == len(self._table):
            self._table = order_table.with_room(self._table, self._totals)
        number = order_table.sent(self._table, self._totals, side, price, size, beyond_depth, now_ns)
        self._numbers[key], self._names[number], self._all = number, key, None

    def accepted(self, key: ClientOrderId) -> None:
        order_table.accepted(self._table, self._totals, self._number(key))

    def asked(self, key: ClientOrderId, state: State, now_ns: int) -> None:
        """An amendment (CHANGING) or a cancel (CANCELLING) was sent."""
        order_table.asked(self._table, self._totals, self._number(key), state, now_ns)

    def put_back(self, key: ClientOrderId, state: State) -> None:
        """What was asked of an order was refused: it rests, or is still on its way (SENT)."""
        order_table.put_back(self._table, self._totals, self._number(key), state)

    def resized(self, key: ClientOrderId, left: int) -> None:
        """The venue says how much is left after an amendment (or its refusal)."""
        order_table.resized(self._table, self._totals, self._number(key), left)
        self._forget(key)

    def filled(self, key: ClientOrderId, size: int) -> tuple[int, bool] | None:
        """Count a fill into the position; return the order's side and whether it was placed beyond the depth shown."""
        side, beyond_depth = order_table.filled(self._table, self._totals, self._number(key), size)
        if side == _UNKNOWN:
            return None
        self._forget(key)
        return side, beyond_depth

    def filled_late(self, signed_lots: int) -> None:
        """Count a fill of an order that does not work any more."""
        self._totals["position"] += signed_lots

    def gone(self, key: ClientOrderId) -> None:
        """Cancelled, rejected, expired or filled: nothing of it can fill any more."""
        order_table.gone(self._table, self._totals, self._number(key))
        self._forget(key)

    def _order(self, row: tuple[int, int, int, int, int, bool, int, int]) -> Order:
        number, side, price, left, state, beyond_depth, since_ns, filled = row
        return Order(self._names[number], side, price, left, _STATES[state], beyond_depth, since_ns, filled)

    def _number(self, key: ClientOrderId) -> int:
        """The order's key in the table."""
        self._all = None
        return self._numbers.get(key, _UNKNOWN)

    def _forget(self, key: ClientOrderId) -> None:
        """Where the table has lost an order, so do we."""
        if len(self._numbers) != self._totals["rows"] and key in self._numbers:
            del self._names[self._numbers.pop(key)]

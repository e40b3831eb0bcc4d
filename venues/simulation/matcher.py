"""Which of our resting orders a recorded market would have filled: queue places, trades, crossings.

Nothing here moves the market: recorded trades and books are what they were, and our orders take from
them what would have reached them first. The rules are those of `venues.simulation.matching`, which the fast lane
calls as well; `Matcher` holds their state for whoever is not compiled.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from market.compiled import record_of
from market.events import BID, OrderKey
from venues.simulation.matching import (
    CONSUMED,
    MATCH,
    begin_book,
    claim_place,
    comes_into_view,
    cross_book,
    find_place,
    forget_unclaimed,
    join_level,
    match_trade,
    move_queues,
    place_order,
    remove_place,
    resize_place,
)
from venues.simulation.queues import PLACE, QueueModel
from venues.simulation.recorded_book import Rows, Shown, is_shown

_FIRST_PLACES, _FIRST_CONSUMED = 16, 32


class QueuePosition(NamedTuple):
    """A resting order of ours as it stands now; the fields are those of `PLACE`."""

    key: OrderKey
    side: int
    price: int
    left: int
    fill: int
    ahead: float
    shown: int
    beyond_depth: bool


class Matcher:
    """Our orders at one venue.

    Parameters
    ----------
    model : QueueModel
    book : Shown
        The book AFTER the update at hand when `on_book` is called.
    snapshots : bool
        Trades are those of the interval since the last book (CTP): an order takes part in the
        share of them that fell, at an even pace, into its life.
    shared : bool
        Orders of ours at one price share one queue. False treats each order as if it stood there
        alone (hypothetical orders of a calibration).

    """

    def __init__(self, model: QueueModel, book: Shown, snapshots: bool = False, shared: bool = True) -> None:
        self._model, self._book = model, book
        self._rules = model.rules(snapshots=snapshots, shared=shared)
        self._match = record_of(MATCH)
        self._places = np.zeros(_FIRST_PLACES, PLACE)
        self._consumed = np.zeros(_FIRST_CONSUMED, CONSUMED)
        self._numbers: dict[OrderKey, int] = {}
        self._keys: dict[int, OrderKey] = {}
        self._given = 0

    def __len__(self) -> int:
        return int(self._match["places"])

    @property
    def counts(self) -> Counter[str]:
        """Lots filled by trades beyond our price and by books that crossed it, and lots that nobody claimed."""
        named = {"filled_through": "filled_through", "filled_crossed": "filled_crossed", "unclaimed_lots": "unclaimed"}
        return Counter({name: int(self._match[field]) for name, field in named.items() if self._match[field]})

    def get(self, key: OrderKey) -> QueuePosition | None:
        """A resting order's place."""
        i = self._find(key)
        return self._position(i) if i >= 0 else None

    # ── our orders ────────────────────────────────────────────────────────────────────────────

    def place(self, key: OrderKey, side: int, price: int, lots: int, now_ns: int) -> QueuePosition:
        """An order of ours arrives at the venue and rests.

        Raises
        ------
        ValueError
            The model is exact and the recording names no orders.

        """
        if self._model.is_exact and not self._book.names_orders:
            raise ValueError("an exact queue needs the orders of the level by id")
        if len(self) == len(self._places):
            self._places = np.concatenate([self._places, np.zeros_like(self._places)])
        self._given += 1
        self._numbers[key], self._keys[self._given] = self._given, key
        i = place_order(self._match, self._places, self._given, side, price, lots, now_ns)
        if is_shown(self._book.shown, side, price):
            self._join(i)
        return self._position(i)

    def leave(self, key: OrderKey, now_ns: int) -> None:
        """A cancel has arrived: no trade after this moment is ours."""
        i = self._find(key)
        if i >= 0:
            self._places[i]["until_ns"] = now_ns

    def resize(self, key: OrderKey, left: int) -> None:
        """An amendment: fewer lots keep their place."""
        i = self._find(key)
        if i >= 0:
            resize_place(self._match, self._places, i, left)
            self._forget_gone(key)

    def remove(self, key: OrderKey) -> None:
        """An order is gone: cancelled, filled or expired."""
        i = self._find(key)
        if i >= 0:
            remove_place(self._match, self._places, i)
            self._forget_gone(key)

    def claim(self, key: OrderKey) -> int:
        """Lots that the event at hand filled; they count as filled from now on."""
        i = self._find(key)
        if i < 0:
            return 0
        lots = int(claim_place(self._match, self._places, i))
        self._forget_gone(key)
        return lots

    # ── the market ────────────────────────────────────────────────────────────────────────────

    def on_trade(self, ts_ns: int, ts_event: int, price: int, lots: int, aggressor: int) -> list[QueuePosition]:
        """Take a trade; return the orders of ours it reached."""
        if not len(self):
            return []
        forget_unclaimed(self._match, self._places)
        shown = self._book.shown
        reached = match_trade(
            self._rules, self._match, self._places, shown, ts_ns, ts_event, price, lots, aggressor
        )  # fmt: skip
        return self._reached() if reached else []

    def on_book(self, ts_ns: int, ts_event: int, rows: Rows, clear: bool = False) -> list[QueuePosition]:
        """Take a whole book update; return the orders of ours it reached.

        Parameters
        ----------
        ts_ns, ts_event : int
            Time of arrival and the exchange's.
        rows : Rows
        clear : bool
            The book was emptied first: what is not among the rows is gone.

        """
        match, places = self._match, self._places
        forget_unclaimed(match, places)
        if not begin_book(match, ts_ns, ts_event):
            return []
        self._move(rows, clear, ts_event)
        shown = self._book.shown
        for i in range(len(self)):
            if comes_into_view(places[i], shown):
                self._join(i)
        if match["consumed"] + len(self) > len(self._consumed):
            self._consumed = np.concatenate([self._consumed, np.zeros_like(self._consumed)])
        return self._reached() if cross_book(self._rules, match, places, self._consumed, shown, ts_ns) else []

    def _move(self, rows: Rows, clear: bool, ts_event: int) -> None:
        move_queues(
            self._rules, self._match, self._places, self._consumed, rows, 0, len(rows.side), clear, self._book.shown,
            ts_event,
        )  # fmt: skip

    def _join(self, i: int) -> None:
        place = self._places[i]
        join_level(place, self._book.lots(int(place["side"]), int(place["price"])), self._book.rows)

    def _find(self, key: OrderKey) -> int:
        number = self._numbers.get(key)
        return int(find_place(self._match, self._places, number)) if number is not None else -1

    def _forget_gone(self, key: OrderKey) -> None:
        if self._find(key) < 0:
            del self._keys[self._numbers.pop(key)]

    def _reached(self) -> list[QueuePosition]:
        """Orders that the event reached, in the order of `next_filled`."""
        reached = [self._position(i) for i in range(len(self)) if self._places[i]["fill"]]
        return sorted(reached, key=lambda place: (place.side, -place.price if place.side == BID else place.price))

    def _position(self, i: int) -> QueuePosition:
        place = self._places[i]
        fields = (place[name].item() for name in QueuePosition._fields[1:])
        return QueuePosition(self._keys[int(place["key"])], *fields)

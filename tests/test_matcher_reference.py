"""The compiled matcher against the plain one, to the bit, on markets that hypothesis makes up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL
from tests import reference_matcher as plain
from tests.reference_order_levels import OrderLevels
from venues.simulation import queues
from venues.simulation.matcher import Matcher
from venues.simulation.recorded_book import RecordedBook, RecordedOrders, is_shown, rows_of

MODELS: list[tuple[str, tuple[Any, ...]]] = [
    ("Pessimistic", (False,)),
    ("Pessimistic", (True,)),
    ("Optimistic", (True,)),
    ("Proportional", (False,)),
    ("Power", (1.7, 0.4, True)),
    ("Power", (-0.5, -1.0, False)),
    ("Nautilus", ()),
]
LOW, HIGH = 96, 104


class Seen:
    """A recorded book as the plain matcher asks for it."""

    def __init__(self, book: RecordedBook, levels: OrderLevels | None = None) -> None:
        self._book, self._levels = book, levels

    def is_shown(self, side: int, price: int) -> bool:
        return bool(is_shown(self._book.shown, side, price))

    def lots(self, side: int, price: int) -> int:
        return self._book.lots(side, price)

    def best(self, side: int) -> int:
        return self._book.best(side)

    def orders(self, side: int, price: int) -> Mapping[int, int] | None:
        return self._levels.orders(side, price) if self._levels is not None else None


SIDE, PRICE = st.sampled_from([BID, ASK]), st.integers(LOW, HIGH)


def market(seed: int, steps: int) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """A lively market around orders of ours: (time, exchange time, event)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    now = 0
    whole = [(BID, p, int(rng.integers(1, 9))) for p in range(LOW, 100)]
    whole += [(ASK, p, int(rng.integers(1, 9))) for p in range(100, HIGH + 1)]
    yield now, now, ("book", whole, True)
    for _ in range(steps):
        now += int(rng.choice([1, 1_000_000, 400_000_000, 900_000_000]))
        ts_event = now + int(rng.integers(-3, 4)) * int(rng.choice([1, 200_000_000]))
        near = int(np.clip(round(rng.normal(99.5, 1.5)), LOW, HIGH))
        side = int(rng.integers(BID, ASK + 1))
        match int(rng.integers(0, 12)):
            case 0 | 1 | 2 | 3:
                prices = rng.permutation(np.arange(LOW, HIGH + 1))[: int(rng.integers(0, 4))]
                rows = [(BID if p < near else ASK, int(p), int(rng.choice([0, 1, 3, 8]))) for p in prices]
                yield now, ts_event, ("book", rows, bool(rng.integers(0, 10) == 0))
            case 4 | 5 | 6:
                yield (
                    now,
                    ts_event,
                    ("trade", near, int(rng.integers(1, 9)), int(rng.choice([BUY, SELL, NO_AGGRESSOR]))),
                )
            case 7 | 8 | 9:
                yield now, ts_event, ("place", side, near, int(rng.integers(1, 6)))
            case 10:
                yield now, ts_event, (str(rng.choice(["leave", "remove"])), int(rng.integers(0, 4)))
            case _:
                yield now, ts_event, ("resize", int(rng.integers(0, 4)), int(rng.integers(0, 3)))


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(("name", "settings_"), MODELS, ids=lambda value: str(value))
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), snapshots=st.booleans(), shared=st.booleans())
def test_the_compiled_matcher_is_the_plain_one(
    name: str, settings_: tuple[Any, ...], depth: int, seed: int, snapshots: bool, shared: bool
) -> None:
    book = RecordedBook(depth)
    fast = Matcher(getattr(queues, name)(*settings_), book, snapshots, shared)
    slow = plain.Matcher(getattr(plain, name)(*settings_), Seen(book), snapshots, shared)
    key = 0
    for now, ts_event, event in market(seed, 120):
        if event[0] == "place":
            key += 1
            fast.place(key, *event[1:], now)
            slow.place(key, *event[1:], now)
        elif event[0] == "book":
            levels = np.array(event[1], np.int64).reshape(-1, 3)
            clear = event[2]
            book.apply(levels, len(levels), clear)
            rows = rows_of(levels)
            same(fast, slow, fast.on_book(now, ts_event, rows, clear), slow.on_book(now, ts_event, event[1], (), clear))
        elif event[0] == "trade":
            same(fast, slow, fast.on_trade(now, ts_event, *event[1:]), slow.on_trade(now, ts_event, *event[1:]))
        else:
            chosen = max(key - event[1], 1)
            arguments = (now,) if event[0] == "leave" else event[2:]
            for matcher in (fast, slow):
                getattr(matcher, event[0])(chosen, *arguments)  # type: ignore[arg-type]
        agree(fast, slow, key)


@settings(max_examples=150)
@given(
    events=st.lists(
        st.one_of(
            st.tuples(st.just("order"), SIDE, PRICE, st.integers(0, 9), st.integers(1, 6)),
            st.tuples(st.just("trade"), PRICE, st.integers(1, 9), st.sampled_from([BUY, SELL])),
            st.tuples(st.just("place"), SIDE, PRICE, st.integers(1, 5)),
        ),
        max_size=80,
    )
)
def test_the_exact_queue_is_the_plain_one(events: list[Any]) -> None:
    """Orders of a level are told of by the level's new size; an id stands at one level only."""
    book, named, at = RecordedOrders(), OrderLevels(), dict[int, tuple[int, int]]()
    sizes: dict[int, int] = {}
    fast, slow = Matcher(queues.Fifo(), book), plain.Matcher(plain.Fifo(), Seen(book, named))
    key = now = 0
    for event in events:
        now += 1
        if event[0] == "place":
            key += 1
            fast.place(key, *event[1:], now)
            slow.place(key, *event[1:], now)
        elif event[0] == "trade":
            same(fast, slow, fast.on_trade(now, now, *event[1:]), slow.on_trade(now, now, *event[1:]))
        else:
            _, side, price, size, order = event
            side, price = at.get(order, (side, price))
            total = sum(lots for other, lots in sizes.items() if at[other] == (side, price) and other != order) + size
            if size:
                at[order], sizes[order] = (side, price), size
            elif order in at:
                del at[order], sizes[order]
            else:
                continue
            levels = [(side, price, total)]
            changes = np.array(levels, np.int64)
            standing = book.take(changes, [order], False)
            told = named.step(side, price, total, order, book.rows - 1)
            assert told == (standing[0][0], standing[1][0])
            rows = rows_of(changes, *standing)
            same(fast, slow, fast.on_book(now, now, rows), slow.on_book(now, now, levels, [order]))
        agree(fast, slow, key)


def same(fast: Matcher, slow: plain.Matcher, reached: list[Any], expected: list[Any]) -> None:
    assert {p.key for p in reached} == {p.key for p in expected if p.fill}
    for place in reached:
        assert fast.claim(place.key) == slow.claim(place.key)


def agree(fast: Matcher, slow: plain.Matcher, keys: int) -> None:
    assert fast.counts == slow.counts
    for key in range(1, keys + 1):
        one, other = fast.get(key), slow.get(key)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            for field in ("side", "price", "left", "fill", "ahead", "shown", "beyond_depth"):
                assert getattr(one, field) == getattr(other, field), field

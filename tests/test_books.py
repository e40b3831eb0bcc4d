"""Books: the compiled one against a dictionary, snapshots of limited depth, orders that cross."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from market.array_book import ArrayBook, apply_levels
from market.events import ASK, BID, BookUpdate, OrderUpdate
from market.level_book import LevelBook, OrderBook

LEVELS = st.lists(st.tuples(st.sampled_from([BID, ASK]), st.integers(1, 40), st.integers(0, 5)), max_size=80)


def snapshot(levels: list[tuple[int, int, int]], depth: int = 0) -> BookUpdate:
    return BookUpdate("X", 1, 1, levels, snapshot=True, depth=depth)


@given(LEVELS)
@settings(max_examples=200)
def test_array_book_equals_a_dictionary(changes: list[tuple[int, int, int]]) -> None:
    book, plain = ArrayBook(64), {BID: {}, ASK: {}}
    rows = np.array(changes, np.int64).reshape(-1, 3)
    apply_levels(book.price, book.size, book.count, rows, len(rows))
    for side, price, size in changes:
        plain[side].pop(price, None)
        if size:
            plain[side][price] = size
    assert book.top(BID, 99) == sorted(plain[BID].items(), reverse=True)
    assert book.top(ASK, 99) == sorted(plain[ASK].items())


def test_a_full_array_book_forgets_its_worst_level() -> None:
    book = ArrayBook(3)
    rows = np.array([(BID, p, 1) for p in (10, 12, 14, 13, 9)], np.int64)
    apply_levels(book.price, book.size, book.count, rows, len(rows))
    assert book.top(BID, 9) == [(14, 1), (13, 1), (12, 1)]


def test_a_level_that_leaves_the_view_keeps_its_size() -> None:
    book = LevelBook()
    book.apply(snapshot([(BID, 100, 50), (ASK, 101, 40)], depth=1))
    changes = book.apply(snapshot([(BID, 101, 7), (ASK, 102, 9)], depth=1))
    assert (ASK, 101, 0) in changes  # inside the view and not shown: gone
    assert (BID, 100, 0) not in changes  # below the one level shown: unknown, not gone
    assert book.bids == {100: 50, 101: 7}
    book.apply(snapshot([(BID, 99, 5), (ASK, 100, 2)], depth=1))
    assert book.bids == {99: 5}
    assert not book.is_crossed()


def test_an_unchanged_snapshot_is_still_an_update() -> None:
    book = LevelBook()
    levels = [(BID, 100, 50), (ASK, 101, 40)]
    book.apply(snapshot(levels, depth=1))
    assert book.apply(snapshot(levels, depth=1)) == [(BID, 100, 50)]


@given(st.lists(st.tuples(LEVELS, st.booleans()), max_size=6))
def test_changes_carry_out_the_snapshot(updates: list[tuple[list[tuple[int, int, int]], bool]]) -> None:
    whole, replayed = LevelBook(), LevelBook()
    for levels, is_snapshot in updates:
        kept = [level for level in levels if level[2]] if is_snapshot else levels
        for change in whole.apply(BookUpdate("X", 1, 1, kept, snapshot=is_snapshot)):
            replayed.set(*change)
    assert list(replayed.levels()) == list(whole.levels())


def order(oid: int, side: int, price: int, size: int) -> OrderUpdate:
    return OrderUpdate("X", 1, 1, oid, side, price, size)


def test_a_crossing_order_stands_aside_until_it_no_longer_crosses() -> None:
    book = OrderBook()
    book.apply(order(1, ASK, 101, 5))
    assert book.apply(order(2, BID, 101, 8)) == []  # a taker shown before its matches
    assert not book.book.is_crossed()
    changes = book.apply(order(1, ASK, 101, 0))  # the maker is used up
    assert changes == [(ASK, 101, 0, 1), (BID, 101, 8, 2)]


def test_orders_at_one_price_add_up() -> None:
    book = OrderBook()
    book.apply(order(1, BID, 100, 5))
    assert book.apply(order(2, BID, 100, 3)) == [(BID, 100, 8, 2)]
    assert book.apply(order(1, BID, 100, 2)) == [(BID, 100, 5, 1)]  # one step: a shrink keeps its place
    assert book.apply(order(2, BID, 100, 0)) == [(BID, 100, 2, 2)]


def test_orders_stand_first_come_first_and_growing_loses_the_place() -> None:
    book = OrderBook()
    for oid, size in ((1, 5), (2, 3), (3, 4)):
        book.apply(order(oid, BID, 100, size))
    book.apply(order(1, BID, 100, 2))
    assert book.rows() == [(BID, 100, 2, 1), (BID, 100, 5, 2), (BID, 100, 9, 3)]
    book.apply(order(1, BID, 100, 6))
    assert book.rows() == [(BID, 100, 3, 2), (BID, 100, 7, 3), (BID, 100, 13, 1)]

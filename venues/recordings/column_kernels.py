"""Compiled passes over a recording's columns: what was written made into columns, and what follows from them."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.typed import Dict

from market.array_book import set_level, show, state_of
from market.columns import BOOK, TRADE
from market.compiled import allocating

TRADED, CLEARS, OWNED = 1, 2, 4
"""Flags of an event as it waits to be written: a trade; empties the book; its rows name their orders."""

_PLACE = types.UniTuple(types.int64, 2)  # side, price
_STANDING = types.UniTuple(types.int64, 3)  # order, side, price
_NUMBERS = types.UniTuple(types.int64, 3)
_STALE = 1 << 16


@allocating
def unfold(heads, words, kind, ts, ts_event, clear, first, side, price, size, order):  # type: ignore[no-untyped-def]
    """Columns of the events that wait.

    `heads (n, 3)` are exchange time, number of rows and flags; `words` arrival, then side, price and size of each row,
    then the rows' orders where they are named; or arrival, price, size and aggressor of a trade.
    """
    at = row = 0
    for e in range(len(heads)):
        rows, flags = heads[e, 1], heads[e, 2]
        ts[e], ts_event[e], first[e] = words[at], heads[e, 0], row
        kind[e] = TRADE if flags & TRADED else BOOK
        clear[e] = flags & CLEARS != 0
        at += 1
        if flags & TRADED:
            price[row], size[row], side[row], order[row] = words[at], words[at + 1], words[at + 2], 0
            at += 3
            row += 1
            continue
        for i in range(row, row + rows):
            side[i], price[i], size[i] = words[at], words[at + 1], words[at + 2]
            order[i] = price[i]
            at += 3
        if flags & OWNED:
            for i in range(row, row + rows):
                order[i] = words[at]
                at += 1
        row += rows
    first[len(heads)] = row


@allocating
def follow_book(kind, clear, first, side, price, size, depth, book, shown, state):  # type: ignore[no-untyped-def]
    """Write what the book shows after each event into `shown (n, 6)` and `state (n,)`.

    `book` are price, size and count of an `ArrayBook`; `first` counts from the first of the rows that are given.
    """
    prices, sizes, count = book
    for e in range(len(kind)):
        if e == 0 or kind[e] == BOOK:
            if kind[e] == BOOK:
                if clear[e]:
                    count[:] = 0
                for i in range(first[e], first[e + 1]):
                    set_level(prices, sizes, count, side[i], price[i], size[i])
            show(prices, sizes, count, depth, shown[e])
            state[e] = state_of(prices, count)
        else:
            shown[e] = shown[e - 1]
            state[e] = state[e - 1]


@allocating
def new_levels():  # type: ignore[no-untyped-def]
    """The levels of an empty book."""
    return Dict.empty(types.int64, types.boolean)


@allocating
def count_levels(changes, levels, counts):  # type: ignore[no-untyped-def]
    """Write how many levels both sides have together after each event into `counts (n,)`; of a book of any depth.

    `changes` are kind, clear, first, side, price and size; `levels` those before the first event, and afterwards those
    after the last.
    """
    kind, clear, first, side, price, size = changes
    for e in range(len(kind)):
        if clear[e]:
            levels.clear()
        if kind[e] == BOOK:
            for i in range(first[e], first[e + 1]):
                level = 2 * price[i] + side[i] - 1
                if size[i]:
                    levels[level] = True
                elif level in levels:
                    del levels[level]
        counts[e] = len(levels)


@allocating
def new_queues():  # type: ignore[no-untyped-def]
    """Who stands where.

    By level the lots of its orders, and its birth; by order its lots, the row that joined, the birth of its level;
    levels born so far, and how many orders may be kept before those of gone levels are forgotten.
    """
    return Dict.empty(_PLACE, _PLACE), Dict.empty(_STANDING, _NUMBERS), np.zeros(2, np.int64)


@allocating
def follow_orders(kind, clear, first, side, price, size, order, base, queues, stood, joined):  # type: ignore[no-untyped-def]
    """Write, row by row, what the order behind it had at that level, and with which row it last joined its queue.

    What is left of an order follows from the level's step, one that grows goes to the
    end, and with its last lot a level forgets whoever was thought to stand there. `base` numbers the first row.
    """
    levels, orders, counts = queues
    for e in range(len(kind)):
        if clear[e]:
            levels.clear()
            orders.clear()
        for i in range(first[e], first[e + 1]):
            stood[i], joined[i] = 0, -1
            if kind[e] == TRADE:
                continue
            place, key = (np.int64(side[i]), price[i]), (order[i], np.int64(side[i]), price[i])
            before = birth = np.int64(0)
            if place in levels:
                before, birth = levels[place]
            if birth and key in orders:
                had, row, born = orders[key]
                if born == birth:
                    stood[i], joined[i] = had, row
            if size[i] == 0:
                if birth:
                    del levels[place]
                if key in orders:
                    del orders[key]
                continue
            if birth == 0:
                counts[0] += 1
                birth = counts[0]
            left = stood[i] + size[i] - before
            if left > 0:
                orders[key] = (left, base + i if size[i] > before else joined[i], birth)
            elif key in orders:
                del orders[key]
            levels[place] = (before - stood[i] + max(left, 0), birth)
        if len(orders) > max(counts[1], _STALE):
            _forget(levels, orders)
            counts[1] = 2 * len(orders)


@allocating
def _forget(levels, orders):  # type: ignore[no-untyped-def]
    """Drop the orders of levels that are gone."""
    gone = []
    for key, (_, _, born) in orders.items():
        place = (key[1], key[2])
        if place not in levels or levels[place][1] != born:
            gone.append(key)
    for key in gone:
        del orders[key]

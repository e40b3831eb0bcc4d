"""A recording's features in one compiled pass: the kernels of `BookFeatures`, event by event, in blocks.

A whole day of vectors is never in memory: each block is used and overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.columns import TRADE, Columns, release_events
from market.compiled import allocating, compiled
from models.features import kernels
from models.features.book_features import TREND_HALF_LIFE, BookFeatures, FeatureSpec

BLOCK = 8192
"""Book updates a block."""


class Block(NamedTuple):
    """What the features say after each of b book updates in a row; views that hold until the next block is asked for.

    Parameters
    ----------
    event : (b,) int64
        Place of the update among the events of its columns.
    vector : (b, features) float32
        An unsound book leaves it as it was.
    ready, sound : (b,) bool
        Whether the vector counts; whether the book has two sides and is not crossed.
    bid, ask : (b,) int64
        Touch of the last sound book, ticks.
    trend : (b,) float64
        Mid price minus its decayed mean, ticks.
    regime : (b,) int8

    """

    event: NDArray[np.int64]
    vector: NDArray[np.float32]
    ready: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    bid: NDArray[np.int64]
    ask: NDArray[np.int64]
    trend: NDArray[np.float64]
    regime: NDArray[np.int8]


class _Events(NamedTuple):
    """What the pass reads of `Columns`."""

    kind: NDArray[np.int8]
    ts: NDArray[np.int64]
    clear: NDArray[np.bool_]
    first: NDArray[np.int64]
    side: NDArray[np.int8]
    price: NDArray[np.int64]
    size: NDArray[np.int64]


class MarketPass:
    """Features of consecutive columns, such as the parts of a day.

    Parameters
    ----------
    spec : FeatureSpec
    depth : int
        Levels a side that the feed shows, 0 for the whole book.
    block : int
        Book updates a block.

    """

    def __init__(self, spec: FeatureSpec, depth: int = 0, block: int = BLOCK) -> None:
        self._features = BookFeatures(spec, depth)
        self._block = Block(
            event=np.zeros(block, np.int64),
            vector=np.zeros((block, len(spec.names)), np.float32),
            ready=np.zeros(block, np.bool_),
            sound=np.zeros(block, np.bool_),
            bid=np.zeros(block, np.int64),
            ask=np.zeros(block, np.int64),
            trend=np.zeros(block, np.float64),
            regime=np.zeros(block, np.int8),
        )

    def blocks(self, columns: Columns) -> Iterator[Block]:
        """Go on through these columns; the last block is shorter."""
        events = _Events._make(_read_only(getattr(columns, name)) for name in _Events._fields)
        changes = np.zeros((max(_most_rows(events.first), 1), 3), np.int64)
        f, at, before = self._features, 0, 0
        while at < len(events.kind):
            release_events(columns, before, at)  # a day may be larger than memory
            before = at
            at, filled = _pass(events, at, f.moments, f.scales, TREND_HALF_LIFE, f.vector, changes, self._block)
            if filled:
                yield Block._make(array[:filled] for array in self._block)


def _read_only(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Memory maps and plain arrays alike, so that the pass is compiled once."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


@compiled
def _most_rows(first):  # type: ignore[no-untyped-def]
    """Rows of the event that has the most."""
    most = 0
    for e in range(len(first) - 1):
        most = max(most, first[e + 1] - first[e])
    return most


@allocating
def _pass(events, at, state, scales, half_life, vector, changes, block):  # type: ignore[no-untyped-def]
    """Take events from `at` on until the block is full; return where to go on, and how many updates it holds."""
    filled = 0
    while at < events.kind.shape[0] and filled < block.event.shape[0]:
        ts, row, stop = events.ts[at], events.first[at], events.first[at + 1]
        if events.kind[at] == TRADE:
            kernels.take_trade(ts, events.price[row], events.size[row], events.side[row], state, scales)
        else:
            for i in range(row, stop):
                changes[i - row, 0] = events.side[i]
                changes[i - row, 1] = events.price[i]
                changes[i - row, 2] = events.size[i]
            book, ready = kernels.take_book(ts, changes, stop - row, events.clear[at], state, scales, vector)
            block.event[filled] = at
            block.vector[filled] = vector
            block.ready[filled] = ready
            block.sound[filled] = book == 0
            block.bid[filled] = kernels.bid(state)
            block.ask[filled] = kernels.ask(state)
            block.trend[filled] = kernels.trend(state, half_life)
            block.regime[filled] = kernels.regime(state)
            filled += 1
        at += 1
    return at, filled

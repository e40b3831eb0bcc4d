"""Nautilus' book and trade messages into features: the same lines for the recorder and the maker."""

from __future__ import annotations

import msgspec
import numpy as np
from nautilus_trader.model import AggressorSide, OrderBookDeltas, OrderSide, TradeTick
from numpy.typing import NDArray

from models.features.book_features import BookFeatures, FeatureSpec
from strategies.values import ASK, BID

_CHUNK = 4096


class Instrument(msgspec.Struct, frozen=True):
    """What has to be known of an instrument: raw units of Nautilus' fixed point, shown depth (0: all)."""

    id: str
    tick_raw: int
    lot_raw: int
    price_precision: int
    size_precision: int
    depth: int


class Decoder:
    """Turns a batch of Nautilus' deltas into rows of integers."""

    def __init__(self, instrument: Instrument) -> None:
        self.tick_raw, self.lot_raw = instrument.tick_raw, instrument.lot_raw
        self.changes = np.zeros((_CHUNK, 3), np.int64)

    def decode(self, deltas: OrderBookDeltas) -> tuple[NDArray[np.int64], int, bool]:
        """Rows (side, price in ticks, lots), how many of them hold, and whether the book is emptied first.

        The rows are overwritten by the next batch.
        """
        rows = deltas.deltas
        if len(rows) > len(self.changes):
            self.changes = np.zeros((2 * len(rows), 3), np.int64)
        clear, n, changes = False, 0, self.changes
        for delta in rows:
            if delta.is_clear:
                clear, n = True, 0
                continue
            order = delta.order
            size = 0 if delta.is_delete else order.size.raw // self.lot_raw
            changes[n] = (BID if order.side == OrderSide.BUY else ASK, order.price.raw // self.tick_raw, size)
            n += 1
        return changes, n, clear


class Feed:
    """Keeps the features of one instrument up to date."""

    def __init__(self, instrument: Instrument, spec: FeatureSpec) -> None:
        self.features = BookFeatures(spec, instrument.depth)
        self._tick, self._lot = instrument.tick_raw, instrument.lot_raw
        self._decoder = Decoder(instrument)
        self._peeked = (-1, 0, False)

    def peek(self, deltas: OrderBookDeltas) -> tuple[NDArray[np.int64], int, bool]:
        """Decode a batch that `on_deltas` will be given next: (changes, rows that hold, clear)."""
        changes, n, clear = self._decoder.decode(deltas)
        self._peeked = (deltas.ts_init, n, clear)
        return changes, n, clear

    def on_deltas(self, deltas: OrderBookDeltas) -> bool:
        """Apply a whole batch; return whether the feature vector counts."""
        ts, n, clear = self._peeked
        if ts != deltas.ts_init:
            _, n, clear = self._decoder.decode(deltas)
        self._peeked = (-1, 0, False)
        return self.features.on_book(deltas.ts_init, self._decoder.changes, n, clear)

    def on_trade(self, trade: TradeTick) -> tuple[int, int, int]:
        """Apply a trade; return its price in ticks, lots, and aggressor (1 buyer, 2 seller, 0 unknown)."""
        price, lots = trade.price.raw // self._tick, trade.size.raw // self._lot
        side = trade.aggressor_side
        aggressor = 1 if side == AggressorSide.BUY else 2 if side == AggressorSide.SELL else 0
        self.features.on_trade(trade.ts_init, price, lots, aggressor)
        return price, lots, aggressor

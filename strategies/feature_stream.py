"""Nautilus' book and trade messages into features: the same lines for the recorder and the maker."""

from __future__ import annotations

import numpy as np
from nautilus_trader.model import OrderBookDeltas, TradeTick
from numpy.typing import NDArray

from market.nautilus import Decoder, Instrument
from models.features.book_features import BookFeatures, FeatureSpec


class FeatureStream:
    """Keeps the features of one instrument up to date."""

    def __init__(self, instrument: Instrument, spec: FeatureSpec) -> None:
        self.features = BookFeatures(spec, instrument.depth)
        self._decoder = Decoder(instrument)
        self._peeked = (-1, 0, False)

    def peek(self, deltas: OrderBookDeltas) -> tuple[NDArray[np.int64], int, bool]:
        """Decode an update that `on_deltas` will be given next: (changes, rows that hold, clear)."""
        changes, n, clear = self._decoder.book(deltas)
        self._peeked = (deltas.ts_init, n, clear)
        return changes, n, clear

    def on_deltas(self, deltas: OrderBookDeltas) -> bool:
        """Apply a whole update; return whether the feature vector counts."""
        ts, n, clear = self._peeked
        if ts != deltas.ts_init:
            _, n, clear = self._decoder.book(deltas)
        self._peeked = (-1, 0, False)
        return self.features.on_book(deltas.ts_init, self._decoder.changes, n, clear)

    def on_trade(self, trade: TradeTick) -> tuple[int, int, int]:
        """Apply a trade; return its price in ticks, lots, and aggressor (1 buyer, 2 seller, 0 unknown)."""
        price, lots, aggressor = self._decoder.trade(trade)
        self.features.on_trade(trade.ts_init, price, lots, aggressor)
        return price, lots, aggressor

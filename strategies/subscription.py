"""The maker's subscription to market data, and what heals it: a live feed can be asked for the book anew."""

from __future__ import annotations

from typing import Protocol

from nautilus_trader.model import BookType, InstrumentId
from nautilus_trader.trading import Strategy

_AGAIN_NS = 5_000_000_000


class Subscription(Protocol):
    """How book and trades of an instrument come to a strategy."""

    def begin(self, strategy: Strategy, instrument_id: InstrumentId) -> None:
        """Subscribe."""

    def ask_for_snapshot(self, strategy: Strategy, instrument_id: InstrumentId, now_ns: int) -> None:
        """Updates were lost: have the book sent whole, where that can be."""


class RecordedSubscription:
    """To a recording: what it lost is lost."""

    def begin(self, strategy: Strategy, instrument_id: InstrumentId) -> None:
        strategy.subscribe_book_deltas(instrument_id, BookType.L2_MBP)
        strategy.subscribe_trades(instrument_id)

    def ask_for_snapshot(self, strategy: Strategy, instrument_id: InstrumentId, now_ns: int) -> None:
        """Nobody sends one."""


class LiveSubscription(RecordedSubscription):
    """To a venue: a new subscription begins with a snapshot. Not asked for more often than every 5 s."""

    def __init__(self) -> None:
        self._asked_ns = 0

    def ask_for_snapshot(self, strategy: Strategy, instrument_id: InstrumentId, now_ns: int) -> None:
        if abs(now_ns - self._asked_ns) <= _AGAIN_NS:
            return
        self._asked_ns = now_ns
        strategy.unsubscribe_book_deltas(instrument_id)
        strategy.subscribe_book_deltas(instrument_id, BookType.L2_MBP)

"""The public streams: book and trades.

Source: https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook and …/trade.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from market.events import ASK, BID, BUY
from venues.loopback import views
from venues.loopback.exchange import NS_PER_MS, Exchange
from venues.loopback.orders import PublicTrade
from venues.loopback.streams import Stream, Streams

_BOOK, _TRADES = "orderbook.", "publicTrade."


class TradeRow(msgspec.Struct, kw_only=True):
    """One trade in the stream's short field names."""

    ts_ms: int = msgspec.field(name="T")
    symbol: str = msgspec.field(name="s")
    side: str = msgspec.field(name="S")
    size: str = msgspec.field(name="v")
    price: str = msgspec.field(name="p")
    direction: str = msgspec.field(default="ZeroTick", name="L")
    trade_id: str = msgspec.field(name="i")
    is_block: bool = msgspec.field(default=False, name="BT")
    is_rpi: bool = msgspec.field(default=False, name="RPI")
    seq: int


class TradesMessage(msgspec.Struct):
    topic: str
    type: str
    ts: int
    data: list[TradeRow]


class BookData(msgspec.Struct):
    """Changed levels as [price, size], size 0 for those that are gone."""

    s: str
    b: list[list[str]]
    a: list[list[str]]
    u: int
    seq: int


class BookMessage(msgspec.Struct):
    topic: str
    type: str
    ts: int
    data: BookData
    cts: int


class PublicStream:
    """Tells the public what has changed."""

    def __init__(self, exchange: Exchange, streams: Streams) -> None:
        self._exchange, self._streams = exchange, streams
        self._trades: list[PublicTrade] = []
        exchange.engine.on_trade = self._traded

    def _traded(self, trade: PublicTrade) -> None:
        self._trades.append(trade)

    async def flush(self) -> None:
        """Send the trades and book changes since the last time."""
        trades, self._trades = self._trades, []
        if self._exchange.faults.public_mute:
            return
        for stream in self._streams.of("public"):
            if trades and (topic := f"{_TRADES}{self._exchange.terms.symbol}") in stream.topics:
                await self._send_trades(stream, topic, trades)
            for topic in _books(stream.topics):
                await self._send_book(stream, topic, "delta")

    async def send_snapshots(self, stream: Stream, topics: set[str]) -> None:
        """Send the whole book to who has just subscribed to it."""
        for topic in _books(topics):
            await self._send_book(stream, topic, "snapshot")

    async def _send_trades(self, stream: Stream, topic: str, trades: list[PublicTrade]) -> None:
        terms = self._exchange.terms
        rows = [
            TradeRow(
                ts_ms=t.ts_ns // NS_PER_MS, symbol=terms.symbol, side="Buy" if t.aggressor == BUY else "Sell",
                size=views.size_text(terms, t.lots), price=views.price_text(terms, t.price),
                trade_id=f"{t.seq:08x}-{i:04x}", seq=t.seq,
            )
            for i, t in enumerate(trades)
        ]  # fmt: skip
        await self._send(stream, TradesMessage(topic, "snapshot", self._exchange.now_ms(), rows))

    async def _send_book(self, stream: Stream, topic: str, kind: Literal["snapshot", "delta"]) -> None:
        exchange, faults = self._exchange, self._exchange.faults
        depth = int(topic.split(".")[1])
        if kind == "snapshot":
            stream.shown = {}
        bids, asks = (self._changes(stream, side, depth) for side in (BID, ASK))
        if kind == "delta" and not bids and not asks:
            return
        stream.updates += 1
        if kind == "delta" and faults.use("skip_public"):
            return
        data = BookData(exchange.terms.symbol, bids, asks, stream.updates, exchange.engine.seq)
        message = BookMessage(topic, kind, exchange.now_ms(), data, exchange.now_ms())
        for _ in range(2 if faults.duplicate_public else 1):
            await self._send(stream, message)

    def _changes(self, stream: Stream, side: int, depth: int) -> list[list[str]]:
        """Levels of a side that the client does not know yet; now it does."""
        old, new = stream.shown.get(side, {}), self._exchange.shown(side, depth)
        stream.shown[side] = new
        gone = dict.fromkeys((price for price in old if price not in new), 0)
        changed = {price: lots for price, lots in new.items() if old.get(price) != lots}
        terms = self._exchange.terms
        return [[row[0], "0"] for row in views.levels(terms, gone)] + views.levels(terms, changed)

    async def _send(self, stream: Stream, message: TradesMessage | BookMessage) -> None:
        if delay_s := self._exchange.faults.public_delay_s:
            self._streams.send_later(delay_s, stream, msgspec.json.encode(message).decode())
        else:
            await stream.send(message)


def _books(topics: set[str]) -> list[str]:
    return sorted(topic for topic in topics if topic.startswith(_BOOK))

"""The account's streams: orders, executions, position and wallet, in the order in which they changed.

Source: https://bybit-exchange.github.io/docs/v5/websocket/private.
"""

from __future__ import annotations

import asyncio
import random
from typing import Literal

import msgspec

from venues.loopback import views
from venues.loopback.exchange import Exchange
from venues.loopback.orders import Execution, Order
from venues.loopback.rows import ExecutionRow, OrderRow, PositionRow, WalletRow
from venues.loopback.streams import Stream, Streams

type Row = OrderRow | ExecutionRow | PositionRow | WalletRow
type Topic = Literal["order", "execution", "position", "wallet"]

_SHUFFLED = 4  # messages that are held back to be mixed


class PrivateMessage(msgspec.Struct, rename="camel"):
    id: str
    topic: Topic
    creation_time: int
    data: list[Row]


class PrivateStream:
    """Tells the account what has happened to it.

    Parameters
    ----------
    exchange : Exchange
    streams : Streams
    seed : int
        Of the order in which a fault mixes messages.

    """

    def __init__(self, exchange: Exchange, streams: Streams, seed: int) -> None:
        self._exchange, self._streams = exchange, streams
        self._rng = random.Random(seed)
        self._waiting: list[tuple[Topic, Row]] = []
        self._shuffled: list[tuple[Topic, Row]] = []
        self._in_order = asyncio.Lock()  # one command's messages do not overtake another's
        exchange.engine.on_order = self._order_changed
        exchange.engine.on_execution = self._executed

    def _order_changed(self, order: Order) -> None:
        self._waiting.append(("order", views.order(self._exchange, order)))

    def _executed(self, execution: Execution) -> None:
        self._waiting += [
            ("execution", views.execution(self._exchange, execution)),
            ("position", views.position(self._exchange)),
            ("wallet", views.wallet(self._exchange)),
        ]

    async def flush(self) -> None:
        """Send what has changed."""
        async with self._in_order:
            for topic, row in self._due():
                for _ in range(2 if self._exchange.faults.private_duplicate else 1):
                    for stream in self._streams.listening(topic):
                        await self._send(stream, topic, row)

    def _due(self) -> list[tuple[Topic, Row]]:
        """Messages to be sent now."""
        faults = self._exchange.faults
        messages, self._waiting = self._waiting, []
        if faults.private_mute:
            return []
        messages, self._shuffled = self._shuffled + messages, []
        if faults.private_shuffle:
            if len(messages) < _SHUFFLED:
                self._shuffled = messages
                return []
            self._rng.shuffle(messages)
        return messages

    async def _send(self, stream: Stream, topic: Topic, row: Row) -> None:
        exchange, faults = self._exchange, self._exchange.faults
        message = PrivateMessage(f"{exchange.engine.seq}", topic, exchange.now_ms(), [row])
        text = msgspec.json.encode(message).decode()
        if faults.use("garbage"):
            await stream.write(text[: len(text) // 2])
        if faults.private_delay_s:
            self._streams.send_later(faults.private_delay_s, stream, text)
        else:
            await stream.write(text)

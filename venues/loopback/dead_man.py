"""The dead man's switch (DCP): cancel everything when the private connection that asked for it stays away.

Source: https://bybit-exchange.github.io/docs/v5/order/dcp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from venues.loopback import rules
from venues.loopback.exchange import Exchange
from venues.loopback.streams import Streams

_TOPIC = "dcp.future"


class DeadMan:
    """The switch.

    Parameters
    ----------
    exchange : Exchange
    streams : Streams
    flush : callable
        Tells everybody what has changed.

    """

    def __init__(self, exchange: Exchange, streams: Streams, flush: Callable[[], Awaitable[None]]) -> None:
        self._exchange, self._streams, self._flush = exchange, streams, flush
        self.window_s: float | None = None
        """How long the connection may stay away; None: no switch is set."""
        self._task: asyncio.Task[None] | None = None

    def set_window(self, window_s: int) -> None:
        """Set the window; raises `OrderError` for one that is too short or long."""
        rules.check_dead_man_window(window_s)
        self.window_s = float(window_s)

    def arm(self) -> None:
        """A private connection is gone: unless another one has the topic, wait for it to come back."""
        if self.window_s is None or self._streams.listening(_TOPIC) or not self._exchange.is_serving:
            return
        self._disarm()
        self._task = asyncio.ensure_future(self._wait(self.window_s))

    def subscribed(self, topics: set[str]) -> None:
        """Somebody listens who may have come back."""
        if any(topic.startswith("dcp") for topic in topics):
            self._disarm()

    def _disarm(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _wait(self, window_s: float) -> None:
        await asyncio.sleep(window_s)
        self._exchange.engine.cancel_all("CancelByDcp")
        await self._flush()

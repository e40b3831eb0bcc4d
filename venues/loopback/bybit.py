"""Bybit's v5 protocol in front of the matching engine: linear contracts, one account, one symbol.

REST and the three sockets (public, private, trade) stand on one port. Spelled as
https://bybit-exchange.github.io/docs/v5 has it, as far as a market maker needs it: instruments,
book and trade streams, order entry, amend, cancel and batches, order, execution, position and
wallet streams, server time, rate limits, error codes and the dead-man switch (DCP).
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

from aiohttp import web

from market.events import BookUpdate, Event, Trade
from venues.loopback.auth import Credentials
from venues.loopback.commands import Commands
from venues.loopback.dead_man import DeadMan
from venues.loopback.exchange import Exchange
from venues.loopback.orders import Terms
from venues.loopback.private_stream import PrivateStream
from venues.loopback.public_stream import PublicStream
from venues.loopback.rest import Rest
from venues.loopback.sockets import Sockets
from venues.loopback.streams import Streams


class LoopbackBybit(Exchange):
    """The server. `engine` is open to whoever tests against it; `faults` to whoever breaks it.

    Parameters
    ----------
    terms : Terms
    key, secret : str
        The one account's credentials.
    cash : Decimal
    orders_per_s : int
        Rate limit of order commands.
    seed : int
        Of the faults' order.

    """

    def __init__(
        self, terms: Terms, key: str, secret: str, cash: Decimal, orders_per_s: int = 200, seed: int = 1
    ) -> None:
        super().__init__(terms, cash, orders_per_s)
        credentials, commands = Credentials(key, secret), Commands(self)
        self._streams = Streams()
        self._public = PublicStream(self, self._streams)
        self._private = PrivateStream(self, self._streams, seed)
        dead_man = DeadMan(self, self._streams, self.flush)
        self._rest = Rest(self, credentials, commands, dead_man, self.flush)
        self._sockets = Sockets(self, credentials, self._streams, self._public, commands, dead_man, self.flush)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listen; port 0 takes a free one."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.is_serving = True

    async def stop(self) -> None:
        """Close all sockets and the port."""
        await self.drop_sockets()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self.is_serving = False
        self._streams.stop()

    async def restart(self, down_s: float, lose_orders: bool) -> None:
        """Go away for a while and come back on the same port, with or without the open orders."""
        port = self._port
        await self.stop()
        if lose_orders:
            self.engine.forget_orders()
        await asyncio.sleep(down_s)
        await self.start(port)

    async def drop_sockets(self, kind: str | None = None) -> None:
        """Cut the connections of a kind (public, private, trade), or all."""
        self._streams.drop(kind)

    async def feed(self, event: Event) -> None:
        """One event of the background market; tell everybody what came of it."""
        if isinstance(event, BookUpdate):
            self.engine.update(event)
        elif isinstance(event, Trade):
            self.engine.trade(event)
        await self.flush()

    async def flush(self) -> None:
        """Send what has changed."""
        await self._public.flush()
        await self._private.flush()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._sockets.serve(request)
        return await self._rest.serve(request)

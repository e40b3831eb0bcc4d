"""The lifeline: a private stream of Bybit that the venue's dead man's switch watches.

Source: https://bybit-exchange.github.io/docs/v5/websocket/private/dcp.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp

from venues.live.bybit_rest import sign

_PING_S = 10.0


async def lifeline(url: str, key: str, secret: str, on_state: Callable[[bool], None]) -> None:
    """Hold a private stream that the dead man's switch watches, for ever; say when it is up and when down.

    The stream carries our executions too: a copy that the trading connection has no part in.
    """
    while True:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(
                    f"{url}/v5/private", heartbeat=None, timeout=aiohttp.ClientWSTimeout(ws_close=1.0)
                ) as socket,
            ):
                expires = time.time_ns() // 1_000_000 + 10_000
                await socket.send_json({"op": "auth", "args": [key, expires, sign(secret, f"GET/realtime{expires}")]})
                await socket.send_json({"op": "subscribe", "args": ["dcp.future"]})
                on_state(True)
                while True:
                    await socket.send_json({"op": "ping"})
                    deadline = time.monotonic() + _PING_S
                    answered = False
                    while (left := deadline - time.monotonic()) > 0:
                        try:
                            message = await socket.receive(timeout=left)
                        except TimeoutError:
                            break
                        if message.type != aiohttp.WSMsgType.TEXT:
                            raise ConnectionError("closed")
                        answered = True
                    if not answered:
                        raise ConnectionError("no pong")
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            on_state(False)
            await asyncio.sleep(0.5)

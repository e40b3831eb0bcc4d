"""The sockets of all clients: who listens to which topics, and how messages get to them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Literal

import msgspec
from aiohttp import web

type StreamKind = Literal["public", "private", "trade"]


def kind_of(path: str) -> StreamKind:
    """What a socket's path is for."""
    return "public" if "public" in path else "trade" if "trade" in path else "private"


class Stream:
    """One socket of a client."""

    def __init__(self, socket: web.WebSocketResponse, kind: StreamKind) -> None:
        self.socket, self.kind = socket, kind
        self.topics: set[str] = set()
        self.is_authorised = False
        self.shown: dict[int, dict[int, int]] = {}
        """The book as this client knows it: lots by price, by side."""
        self.updates = 0

    async def send(self, message: msgspec.Struct) -> None:
        await self.write(msgspec.json.encode(message).decode())

    async def write(self, text: str) -> None:
        try:
            await self.socket.send_str(text)
        except (ConnectionError, RuntimeError):  # it has gone: its reader will notice
            return

    def cut(self) -> None:
        """Break the connection, as a network does."""
        transport = self.socket._req.transport if self.socket._req is not None else None
        if transport is not None:
            transport.abort()


class Streams:
    """All that are open, and what is on its way to them."""

    def __init__(self) -> None:
        self._open: list[Stream] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, stream: Stream) -> None:
        self._open.append(stream)

    def remove(self, stream: Stream) -> None:
        if stream in self._open:
            self._open.remove(stream)

    def of(self, kind: StreamKind) -> list[Stream]:
        return [stream for stream in self._open if stream.kind == kind]

    def listening(self, topic: str) -> list[Stream]:
        """Private streams with a topic."""
        return [stream for stream in self.of("private") if topic in stream.topics]

    def drop(self, kind: str | None) -> None:
        """Cut the connections of a kind, or all."""
        for stream in [s for s in self._open if kind is None or s.kind == kind]:
            stream.cut()
            self._open.remove(stream)

    def send_later(self, delay_s: float, stream: Stream, text: str) -> None:
        """Send after a delay; others may overtake it."""

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            await stream.write(text)

        self.spawn(wait())

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self) -> None:
        """Forget what is on its way."""
        for task in list(self._tasks):
            task.cancel()

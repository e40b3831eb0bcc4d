"""The hub: hears all traders over a socket of datagrams, and makes the one view that all viewers are told."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from pathlib import Path

import msgspec

from engine.live.safety.state import is_alive
from engine.live.telemetry import Frame
from engine.monitor.watched import Watched

_FORGET_S = 3600.0
_TRADERS = 64
_LARGEST = 1 << 20
_TICK_S = 0.25


class Hub:
    """Hears traders and tells viewers; a slow viewer misses looks, nobody waits for it.

    Parameters
    ----------
    folder : Path
        Where the sockets are.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.traders: dict[str, Watched] = {}
        self.garbage = 0
        self.version = 0
        self.news = asyncio.Condition()
        self._view: tuple[int, bytes] = (-1, b"")
        self._decoder = msgspec.json.Decoder(Frame)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._ticker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen."""
        sweep(self.folder)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _LARGEST)
        self._socket.bind(f"/proc/self/fd/{self._folder}/{self._path.name}")
        self._path.chmod(0o600)
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Stop listening; the socket goes."""
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._ticker is not None:
            self._ticker.cancel()
        self._socket.close()
        os.close(self._folder)
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        for _ in range(64):
            try:
                message = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            try:
                frame = self._decoder.decode(message)
            except msgspec.DecodeError:  # a trader of another version, or somebody else
                self.garbage += 1
                continue
            self.take(frame)

    def take(self, frame: Frame) -> None:
        """A frame came in."""
        watched = self.traders.get(frame.about.key)
        if watched is None:
            if len(self.traders) >= _TRADERS:
                self.garbage += 1
                return
            watched = self.traders[frame.about.key] = Watched(frame)
        watched.take(frame)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._forget()
            for watched in self.traders.values():
                watched.read_alarms()
            self.version += 1
            async with self.news:
                self.news.notify_all()

    def _forget(self) -> None:
        """Those long gone, and those that a newer trader of the same instrument and kind has taken over from."""
        now = time.monotonic()
        newest = list(self.newest().values())
        for key, watched in list(self.traders.items()):
            over = watched.status in ("stopped", "dead")
            if over and (watched not in newest or now - watched.heard > _FORGET_S):
                del self.traders[key]

    def newest(self) -> dict[tuple[str, str], Watched]:
        """By instrument and mode, the trader that started last."""
        return {(w.about.instrument, w.about.mode): w for w in self._by_age()}

    def _by_age(self) -> list[Watched]:
        return sorted(self.traders.values(), key=lambda w: w.about.started_ns)

    def look(self) -> bytes:
        """The view of all traders as JSON, made once for all viewers."""
        if self._view[0] != self.version:
            views = [watched.view() for watched in self._by_age()]
            self._view = (self.version, msgspec.json.encode({"traders": views}))
        return self._view[1]


def sweep(folder: Path) -> None:
    """Remove the sockets of monitors that are gone."""
    for path in folder.glob("*.sock"):
        pid = path.name.partition("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            path.unlink(missing_ok=True)

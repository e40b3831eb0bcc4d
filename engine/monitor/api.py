"""What the page and scrapers read: traders as they are now, their history, journals and runs, metrics, health."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from engine.monitor import metrics
from engine.monitor.access import HEADERS
from engine.monitor.archive import Archive
from engine.monitor.hub import Hub
from engine.monitor.watched import Watched
from market.errors import ConfigError

_VIEWERS = 64


class Api:
    """Answers them.

    Parameters
    ----------
    hub : Hub
    archive : Archive
    state : Path
        The configured state folder, whose journals are listed beside those of the traders that are heard.

    """

    def __init__(self, hub: Hub, archive: Archive, state: Path) -> None:
        self._hub, self._archive, self._state = hub, archive, state
        self._viewers = 0
        self._is_closing = False
        self._reading = threading.Lock()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/stream", self._stream),
            web.get("/api/look", self._look),
            web.get("/api/history", self._history),
            web.get("/api/runs", self._runs),
            web.get("/api/journals", self._journals),
            web.get("/api/journal", self._journal),
            web.get("/metrics", self._metrics),
            web.get("/healthz", self._health),
            web.get("/readyz", self._ready),
        ]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: a look at a time, as fast as this viewer takes them."""
        if self._viewers >= _VIEWERS:
            return web.json_response({"error": f"{_VIEWERS} viewers are enough"}, status=429)
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        self._viewers += 1
        try:
            await response.prepare(request)
            seen = -1
            while True:
                async with self._hub.news:
                    await self._hub.news.wait_for(lambda: self._is_closing or self._hub.version != seen)  # noqa: B023
                if self._is_closing:
                    return response
                seen = self._hub.version
                await response.write(b"data: " + self._hub.look() + b"\n\n")
        except ConnectionError:
            return response
        finally:
            self._viewers -= 1

    async def dismiss(self, _: web.Application) -> None:
        """Let the viewers go."""
        self._is_closing = True
        async with self._hub.news:
            self._hub.news.notify_all()

    async def _look(self, request: web.Request) -> web.Response:
        return web.Response(body=self._hub.look(), content_type="application/json")

    async def _history(self, request: web.Request) -> web.Response:
        return as_json(trader_of(self._hub, request.query.get("key", "")).history())

    async def _runs(self, request: web.Request) -> web.Response:
        return as_json(await asyncio.to_thread(self._archive.list_runs))

    async def _journals(self, request: web.Request) -> web.Response:
        return as_json(await asyncio.to_thread(self._archive.list_journals, self._states()))

    async def _journal(self, request: web.Request) -> web.Response:
        query = request.query
        return as_json(await asyncio.to_thread(
            self._read_journal, query.get("id", ""), _whole(query, "start", 0), _whole(query, "count", 200),
            _whole(query, "at_ms", -1),
        ))  # fmt: skip

    def _read_journal(self, key: str, start: int, count: int, at_ms: int) -> dict[str, Any]:
        try:
            with self._reading:  # an index grows as it is read, and threads share it
                index = self._archive.journal(key, self._states())
                if index is None:
                    raise web.HTTPNotFound
                if at_ms >= 0:
                    start = index.find(at_ms * 1_000_000)
                lines, total = index.lines(start, count), index.grow()
        except (ConfigError, msgspec.DecodeError, OSError) as error:
            raise web.HTTPUnprocessableEntity(text=json.dumps({"error": str(error)})) from error
        header = index.header
        about = {"instrument": header.instrument, "quoter": header.quoter, "artifact_hash": header.artifact_hash}
        return {"about": about, "total": total, "lines": lines}

    def _states(self) -> list[Path]:
        known = {Path(w.about.state) for w in self._hub.traders.values() if w.about.state is not None}
        return sorted(known | {self._state})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(self._hub), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        """Whether at least one trader is heard and none is dead or silent."""
        states = [w.status for w in self._hub.traders.values()]
        good = bool(states) and not {"dead", "silent"} & set(states) and set(states) != {"stopped"}
        return web.json_response({"ready": good, "traders": len(states)}, status=200 if good else 503)


def trader_of(hub: Hub, key: str) -> Watched:
    """The trader of a key; raises `HTTPNotFound`."""
    watched = hub.traders.get(key)
    if watched is None:
        raise web.HTTPNotFound(text='{"error": "no such trader"}', content_type="application/json")
    return watched


def as_json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 53:
        raise web.HTTPBadRequest(text=json.dumps({"error": f"{name}: expected a whole number"}))
    return value

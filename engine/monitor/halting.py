"""Halting from the page: who may ask, and that the trader is the one that was meant."""

from __future__ import annotations

import asyncio
import hmac
import logging

import msgspec
from aiohttp import web

from engine.monitor import stop
from engine.monitor.api import as_json, trader_of
from engine.monitor.hub import Hub
from market.errors import ConfigError, DataError

_log = logging.getLogger("cmm.monitor")


class HaltRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which trader to halt; `confirm` repeats its instrument, as a person typed or saw it."""

    key: str
    confirm: str
    reason: str


class Halting:
    """Answers the page's Halt.

    Parameters
    ----------
    hub : Hub
    page_key : str
        Only the monitor's own page knows it.

    """

    def __init__(self, hub: Hub, page_key: str) -> None:
        self._hub, self._page_key = hub, page_key
        self._halts = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/halt", self._halt)]

    async def _halt(self, request: web.Request) -> web.Response:
        given = request.headers.get("X-CMM-Page", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._page_key.encode()):
            return web.json_response({"error": "only the monitor's own page can halt; load it anew"}, status=403)
        if request.content_type != "application/json":
            return web.json_response({"error": "expected application/json"}, status=415)
        try:
            asked = msgspec.json.decode(await request.read(), type=HaltRequest)
        except msgspec.DecodeError as error:
            return web.json_response({"error": str(error)}, status=400)
        watched = trader_of(self._hub, asked.key)
        if asked.confirm != watched.about.instrument:
            return web.json_response({"error": "not confirmed: name the instrument"}, status=400)
        reason = " ".join(asked.reason.split())[:200] or "no reason given"
        _log.warning("halt asked for", extra={"trader": asked.key, "reason": reason, "remote": request.remote})
        async with self._halts:  # a second press waits and finds it done
            try:
                done = await stop.halt(self._hub.folder, watched, reason)
            except (ConfigError, DataError, OSError) as error:
                return web.json_response({"error": str(error)}, status=409)
        _log.warning("halted", extra={"trader": asked.key, "resting": done.resting, "by": done.by})
        return as_json(msgspec.structs.asdict(done))

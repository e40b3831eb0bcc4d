"""`cmm monitor`: the web server. Reading is open to this machine, or to whoever has the token; halting needs more."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import hdrs, web
from plotly.offline import get_plotlyjs

from engine.config import Config
from engine.live.telemetry import meeting_place
from engine.monitor import metrics, stop
from engine.monitor.archive import Archive
from engine.monitor.hub import Hub, Watched
from market.errors import ConfigError, DataError

TOKEN = "CMM_MONITOR_TOKEN"
_STATIC = Path(__file__).parent / "static"
_ASSETS = {"monitor.js": "text/javascript", "monitor.css": "text/css"}
_COOKIE = "cmm_monitor"
_OPEN = frozenset({"/healthz", "/readyz", "/login", "/static/monitor.css"})
_VIEWERS = 64
_BODY = 4096
_MIN_TOKEN = 16
_WRONG_WAIT_S = 0.5
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# a report has its scripts within: it may run them, in an origin of its own that can reach nothing here
_REPORT_CSP = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; sandbox allow-scripts; "
    "frame-ancestors 'none'"
)

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = logging.getLogger("cmm.monitor")


class HaltRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which trader to halt; `confirm` repeats its instrument, as a person typed or saw it."""

    key: str
    confirm: str
    reason: str


class Monitor:
    """The application: hub, archive, pages.

    Parameters
    ----------
    config : Config
    token : str, optional
        Whoever has it may look and halt; None trusts this machine.

    """

    def __init__(self, config: Config, token: str | None) -> None:
        self._config, self._token = config, token.encode() if token is not None else None
        self._hosts = {"localhost", "127.0.0.1", "::1", *(h.lower() for h in config.monitor.hosts)}
        if config.monitor.host not in ("0.0.0.0", "::"):
            self._hosts.add(config.monitor.host.lower())
        self._session = secrets.token_urlsafe(32)
        self._page_key = secrets.token_urlsafe(32)
        self._viewers = 0
        self._halts = asyncio.Lock()
        self._reading = threading.Lock()
        self.hub = Hub(meeting_place(config))
        self._archive = Archive(Path(config.runs.path))
        self._plotly = get_plotlyjs().encode()
        self.app = web.Application(client_max_size=_BODY, middlewares=[self._guard])
        get, post = self.app.router.add_get, self.app.router.add_post
        get("/", self._index)
        get("/login", self._login_page)
        post("/login", self._login)
        get("/static/{name}", self._asset)
        get("/api/stream", self._stream)
        get("/api/look", self._look)
        get("/api/history", self._history)
        get("/api/runs", self._runs)
        get("/api/journals", self._journals)
        get("/api/journal", self._journal)
        get("/runs/{run}/{page}", self._report)
        get("/metrics", self._metrics)
        get("/healthz", self._health)
        get("/readyz", self._ready)
        post("/api/halt", self._halt)
        self._is_closing = False
        self.app.on_startup.append(lambda _: self.hub.start())
        self.app.on_shutdown.append(self._dismiss)
        self.app.on_cleanup.append(lambda _: self.hub.stop())

    # ── who may ───────────────────────────────────────────────────────────────────────────────

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await self._admit(request, handler)
        except web.HTTPException as error:
            error.headers.update(_HEADERS)
            raise
        except (ValueError, UnicodeError) as error:
            response = web.json_response({"error": f"not understood: {error}"}, status=400)
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            response.headers.setdefault("Content-Security-Policy", _CSP)
        return response

    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # a page elsewhere whose name was pointed at this machine would else read all as its own origin
        if _name(request.host) not in self._hosts and request.path not in ("/healthz", "/readyz"):
            return web.json_response({"error": "unknown host; see monitor.hosts in the configuration"}, status=421)
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and (
            request.path.startswith("/api") or request.method != hdrs.METH_GET
        ):
            return web.json_response({"error": "not from another site"}, status=403)
        if self._token is None or request.path in _OPEN or self._knows(request):
            return await handler(request)
        if request.path == "/":
            raise web.HTTPSeeOther("/login")
        return web.json_response({"error": "no token"}, status=401, headers={"WWW-Authenticate": "Bearer"})

    def _knows(self, request: web.Request) -> bool:
        """Whether the request carries the session of a login, or the token itself (a scraper)."""
        cookie = request.cookies.get(_COOKIE, "")
        if hmac.compare_digest(cookie.encode("utf-8", "replace"), self._session.encode()):
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._is_token(given)

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)

    async def _login_page(self, request: web.Request) -> web.Response:
        return web.Response(text=(_STATIC / "login.html").read_text(), content_type="text/html")

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        given = form.get("token", "")
        if not isinstance(given, str) or not self._is_token(given):
            await asyncio.sleep(_WRONG_WAIT_S)
            _log.warning("a wrong token was given", extra={"remote": request.remote})
            return web.Response(status=401, text=(_STATIC / "login.html").read_text(), content_type="text/html")
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(_COOKIE, self._session, httponly=True, samesite="Strict", secure=request.secure)
        return response

    # ── pages ─────────────────────────────────────────────────────────────────────────────────

    async def _index(self, request: web.Request) -> web.Response:
        text = (_STATIC / "index.html").read_text().replace("{{page_key}}", self._page_key)
        return web.Response(text=text, content_type="text/html")

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "plotly.js":
            response = web.Response(body=self._plotly, content_type="text/javascript", charset="utf-8")
            response.headers["Cache-Control"] = "private, max-age=86400"
            response.enable_compression()
            return response
        if name not in _ASSETS:
            raise web.HTTPNotFound
        return web.Response(body=(_STATIC / name).read_bytes(), content_type=_ASSETS[name], charset="utf-8")

    async def _report(self, request: web.Request) -> web.Response:
        path = self._archive.page(request.match_info["run"], request.match_info["page"])
        if path is None:
            raise web.HTTPNotFound
        body = await asyncio.to_thread(path.read_bytes)
        return web.Response(
            body=body, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": _REPORT_CSP}
        )

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: a look at a time, as fast as this viewer takes them."""
        if self._viewers >= _VIEWERS:
            return web.json_response({"error": f"{_VIEWERS} viewers are enough"}, status=429)
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        self._viewers += 1
        try:
            await response.prepare(request)
            seen = -1
            while True:
                async with self.hub.news:
                    await self.hub.news.wait_for(lambda: self._is_closing or self.hub.version != seen)  # noqa: B023
                if self._is_closing:
                    return response
                seen = self.hub.version
                await response.write(b"data: " + self.hub.look() + b"\n\n")
        except ConnectionError:
            return response
        finally:
            self._viewers -= 1

    async def _dismiss(self, _: web.Application) -> None:
        """Let the viewers go."""
        self._is_closing = True
        async with self.hub.news:
            self.hub.news.notify_all()

    async def _look(self, request: web.Request) -> web.Response:
        return web.Response(body=self.hub.look(), content_type="application/json")

    async def _history(self, request: web.Request) -> web.Response:
        return _json(self._trader(request.query.get("key", "")).history())

    async def _runs(self, request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._archive.list_runs))

    async def _journals(self, request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._archive.list_journals, self._states()))

    async def _journal(self, request: web.Request) -> web.Response:
        query = request.query
        return _json(await asyncio.to_thread(
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
        known = {Path(w.about.state) for w in self.hub.traders.values() if w.about.state is not None}
        return sorted(known | {Path(self._config.live.state).resolve()})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(self.hub), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        """Whether at least one trader is heard and none is dead or silent."""
        states = [w.status for w in self.hub.traders.values()]
        good = bool(states) and not {"dead", "silent"} & set(states) and set(states) != {"stopped"}
        return web.json_response({"ready": good, "traders": len(states)}, status=200 if good else 503)

    # ── halting ───────────────────────────────────────────────────────────────────────────────

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
        watched = self._trader(asked.key)
        if asked.confirm != watched.about.instrument:
            return web.json_response({"error": "not confirmed: name the instrument"}, status=400)
        reason = " ".join(asked.reason.split())[:200] or "no reason given"
        _log.warning("halt asked for", extra={"trader": asked.key, "reason": reason, "remote": request.remote})
        async with self._halts:  # a second press waits and finds it done
            try:
                done = await stop.halt(self.hub.folder, watched, reason)
            except (ConfigError, DataError, OSError) as error:
                return web.json_response({"error": str(error)}, status=409)
        _log.warning("halted", extra={"trader": asked.key, "resting": done.resting, "by": done.by})
        return _json(msgspec.structs.asdict(done))

    def _trader(self, key: str) -> Watched:
        watched = self.hub.traders.get(key)
        if watched is None:
            raise web.HTTPNotFound(text='{"error": "no such trader"}', content_type="application/json")
        return watched


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _whole(query: Any, name: str, default: int) -> int:
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


def _name(host: str) -> str:
    """A host header without its port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    _KNOWN = frozenset(vars(logging.makeLogRecord({})))

    def format(self, record: logging.LogRecord) -> str:
        more = {k: v for k, v in vars(record).items() if k not in self._KNOWN and k != "message"}
        line = {
            "ts": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({**line, **more}, default=str)


def serve(config: Config, token: str | None, say: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Raises
    ------
    ConfigError
        The address is taken, or reaches beyond this machine without a token.

    """
    at = config.monitor
    if token is not None and len(token) < _MIN_TOKEN:
        raise ConfigError(f"{TOKEN}: a token of at least {_MIN_TOKEN} characters is needed")
    if token is None and not _is_local(at.host):
        raise ConfigError(f"monitor.host {at.host}: reaches beyond this machine; set {TOKEN} in the environment")
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    asyncio.run(_serve(Monitor(config, token), at.host, at.port, say))


async def _serve(monitor: Monitor, host: str, port: int, say: Callable[[str], None]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(monitor.app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"monitor.port {port}: {error.strerror or error}; set another one") from error
        shown = runner.addresses[0]
        say(f"monitor at http://{f'[{shown[0]}]' if ':' in shown[0] else shown[0]}:{shown[1]}")
        _log.info("serving", extra={"host": shown[0], "port": shown[1]})
        await ended.wait()
    finally:
        await runner.cleanup()


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Who may look at the monitor: known host names, no other site, and the token where there is one."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import hdrs, web

from engine.config import MonitorConfig

STATIC = Path(__file__).parent / "static"
_COOKIE = "cmm_monitor"
_OPEN = frozenset({"/healthz", "/readyz", "/login", "/static/monitor.css"})
_WRONG_WAIT_S = 0.5
HEADERS = {
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

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = logging.getLogger("cmm.monitor")


class Access:
    """Admits requests, and answers with headers that keep browsers strict.

    Parameters
    ----------
    config : MonitorConfig
    token : str, optional
        Whoever has it may look and halt; None trusts this machine.

    """

    def __init__(self, config: MonitorConfig, token: str | None) -> None:
        self._token = token.encode() if token is not None else None
        self._hosts = {"localhost", "127.0.0.1", "::1", *(h.lower() for h in config.hosts)}
        if config.host not in ("0.0.0.0", "::"):
            self._hosts.add(config.host.lower())
        self._session = secrets.token_urlsafe(32)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/login", self._login_page), web.post("/login", self._login)]

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Middleware: what a request must be, and what its answer carries."""
        try:
            response = await self._admit(request, handler)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        except (ValueError, UnicodeError) as error:
            response = web.json_response({"error": f"not understood: {error}"}, status=400)
        if not response.prepared:
            for name, value in HEADERS.items():
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
        return web.Response(text=(STATIC / "login.html").read_text(), content_type="text/html")

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        given = form.get("token", "")
        if not isinstance(given, str) or not self._is_token(given):
            await asyncio.sleep(_WRONG_WAIT_S)
            _log.warning("a wrong token was given", extra={"remote": request.remote})
            return web.Response(status=401, text=(STATIC / "login.html").read_text(), content_type="text/html")
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(_COOKIE, self._session, httponly=True, samesite="Strict", secure=request.secure)
        return response


def _name(host: str) -> str:
    """A host header without its port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()

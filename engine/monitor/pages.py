"""The monitor's pages: the live page with its scripts and styles, and finished reports."""

from __future__ import annotations

import asyncio

from aiohttp import web
from plotly.offline import get_plotlyjs

from engine.monitor.access import STATIC
from engine.monitor.archive import Archive

_ASSETS = {"monitor.js": "text/javascript", "monitor.css": "text/css"}
# a report has its scripts within: it may run them, in an origin of its own that can reach nothing here
_REPORT_CSP = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; sandbox allow-scripts; "
    "frame-ancestors 'none'"
)


class Pages:
    """Serves them.

    Parameters
    ----------
    archive : Archive
    page_key : str
        Handed to the live page, without which nobody halts.

    """

    def __init__(self, archive: Archive, page_key: str) -> None:
        self._archive, self._page_key = archive, page_key
        self._plotly = get_plotlyjs().encode()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._index),
            web.get("/static/{name}", self._asset),
            web.get("/runs/{run}/{page}", self._report),
        ]

    async def _index(self, request: web.Request) -> web.Response:
        text = (STATIC / "index.html").read_text().replace("{{page_key}}", self._page_key)
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
        return web.Response(body=(STATIC / name).read_bytes(), content_type=_ASSETS[name], charset="utf-8")

    async def _report(self, request: web.Request) -> web.Response:
        path = self._archive.page(request.match_info["run"], request.match_info["page"])
        if path is None:
            raise web.HTTPNotFound
        body = await asyncio.to_thread(path.read_bytes)
        return web.Response(
            body=body, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": _REPORT_CSP}
        )

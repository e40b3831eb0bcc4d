"""`cmm monitor`: the web server. Reading is open to this machine, or to whoever has the token; halting needs more."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from engine.config import Config
from engine.live.telemetry import meeting_place
from engine.monitor.access import Access
from engine.monitor.api import Api
from engine.monitor.archive import Archive
from engine.monitor.halting import Halting
from engine.monitor.hub import Hub
from engine.monitor.pages import Pages
from market.errors import ConfigError

TOKEN = "CMM_MONITOR_TOKEN"
_BODY = 4096
_MIN_TOKEN = 16
_log = logging.getLogger("cmm.monitor")


class Monitor:
    """The application: hub, archive, pages.

    Parameters
    ----------
    config : Config
    token : str, optional
        Whoever has it may look and halt; None trusts this machine.

    """

    def __init__(self, config: Config, token: str | None) -> None:
        access = Access(config.monitor, token)
        archive = Archive(Path(config.runs.path))
        self.page_key = secrets.token_urlsafe(32)
        self.hub = Hub(meeting_place(config))
        api = Api(self.hub, archive, Path(config.live.state).resolve())
        self.app = web.Application(client_max_size=_BODY, middlewares=[access.guard])
        for part in (access, Pages(archive, self.page_key), api, Halting(self.hub, self.page_key)):
            self.app.add_routes(part.routes())
        self.app.on_startup.append(lambda _: self.hub.start())
        self.app.on_shutdown.append(api.dismiss)
        self.app.on_cleanup.append(lambda _: self.hub.stop())


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

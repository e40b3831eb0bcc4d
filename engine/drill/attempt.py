"""One try of a drill: an exchange with an account of its own, a market, and a trader as a process."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from engine.config import Config, override
from engine.live.safety.state import StateFolder, is_alive
from market.contracts import Contract, ContractTable
from market.events import ASK, BID, BUY, SELL, BookUpdate, Trade
from venues.live.bybit import BybitAccountClient
from venues.loopback import market
from venues.loopback.bybit import LoopbackBybit

KEY, SECRET = "drill-key", "drill-secret-never-on-disk"
_TABLE = """contracts:
- {exchange: BYBIT, product: BTCUSDT-LINEAR, kind: perpetual, currency: USDT, base: BTC, tick: 0.1, lot: 0.001,
   fees: {maker: 1.0e-5, taker: 5.5e-4}}
"""
_START_S, _GONE_S = 60.0, 30.0


class Try:
    """One trader at one exchange, and what is found out about them."""

    def __init__(self, folder: Path, seed: int, quick: Path, quick_hash: str, base: Config) -> None:
        self.folder, self.seed = folder, seed
        self.rng = random.Random(seed)
        folder.mkdir(parents=True)
        table = folder / "contracts.yaml"
        table.write_text(_TABLE)
        self.contract: Contract = ContractTable([table]).by_id(market.SYMBOL)
        self.exchange = LoopbackBybit(market.terms_of(self.contract), KEY, SECRET, Decimal(100_000), 400, seed)
        self.config = self._configure(base, table, quick, quick_hash)
        self.state = StateFolder(folder / "state")
        self.trader: asyncio.subprocess.Process | None = None
        self.broken: list[str] = []
        self.alarms: list[tuple[float, dict[str, Any]]] = []
        self.is_frozen = False
        self.shift = 0
        self._feeder: asyncio.Task[None] | None = None
        self._receiver: web.AppRunner | None = None
        self.outputs: list[Path] = []

    def _configure(self, base: Config, table: Path, quick: Path, quick_hash: str) -> Config:
        return override(base, {
            "data.contracts": [str(table)],
            "model.artifact": str(quick),
            **_within("strategy.cmm", spread_share=0.2, sigma_share=0.0, alpha=1.0),
            **_within(
                "limits", max_position_lots=12, max_order_lots=5, max_open_orders=10, max_order_notional=50.0,
                max_gross_notional=1000.0, max_net_notional=1000.0, max_messages_per_s=20.0,
            ),
            **_within("guard.data", stale_s=1.5, max_lag_ms=400.0, healthy_s=0.5),
            **_within("guard.model", deadline_ms=40.0, min_confidence=0.001),
            **_within("guard.money", loss_budget=5.0, max_drawdown=5.0),
            **_within("guard.fills", fills=8, within_s=0.5, pause_s=1.0),
            **_within(
                "live", armed=True, artifact_hash=quick_hash, state=str(self.folder / "state"), dead_man_s=3,
                answer_s=2.0, unreachable_s=3.0, request_s=2.0, data_alarm_s=1.0,
            ),
        })  # fmt: skip

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Start exchange, market and the receiver of alarms."""
        await self.exchange.start()
        app = web.Application()
        app.router.add_post("/", self._alarm)
        self._receiver = web.AppRunner(app, access_log=None)
        await self._receiver.setup()
        await web.TCPSite(self._receiver, "127.0.0.1", 0).start()
        port = self._receiver.addresses[0][1]
        self.config = override(
            self.config, _within("live", base_url=self.exchange.url, webhook=f"http://127.0.0.1:{port}/")
        )
        (self.folder / "config.json").write_bytes(msgspec.json.encode(self.config))
        self._watch_limits()
        self._feeder = asyncio.create_task(self._feed())

    async def close(self) -> None:
        """Stop everything that still runs."""
        if self.trader is not None and self.trader.returncode is None:
            self.trader.kill()
            await self.trader.wait()
        beat = self.state.watchdog()
        if beat is not None:
            with suppress(ProcessLookupError):
                os.kill(beat.pid, signal.SIGKILL)
            await self.comes(lambda: not is_alive(beat.pid), _GONE_S)
        if self._feeder is not None:
            self._feeder.cancel()
        await self.exchange.stop()
        if self._receiver is not None:
            await self._receiver.cleanup()

    async def _alarm(self, request: web.Request) -> web.Response:
        self.alarms.append((time.monotonic(), await request.json()))
        return web.Response()

    async def _feed(self) -> None:
        async for event in market.paced(market.simulated(self.seed), 2.0):
            while self.is_frozen:
                await asyncio.sleep(0.02)
            if self.shift and isinstance(event, BookUpdate):
                levels = [(s, p + self.shift, q) for s, p, q in event.levels]
                event = msgspec.structs.replace(event, levels=levels)
            elif self.shift and isinstance(event, Trade):
                event = msgspec.structs.replace(event, price=event.price + self.shift)
            await self.exchange.feed(event)

    def _watch_limits(self) -> None:
        """See at each change whether the limits hold at the exchange."""
        engine, limits = self.exchange.engine, self.config.limits
        tell_order, tell_fill = engine.on_order, engine.on_execution

        def check() -> None:
            position, buys, sells = engine.position, engine.resting(BID), engine.resting(ASK)
            if not self.foreign and max(position + buys, sells - position) > limits.max_position_lots:
                self.fail(f"position limit: {position} held, {buys} bid, {sells} offered")
            if len(engine.open) > limits.max_open_orders:
                self.fail(f"{len(engine.open)} open orders")

        def on_order(order: Any) -> None:
            tell_order(order)
            if not self.foreign and order.lots > limits.max_order_lots:
                self.fail(f"order of {order.lots} lots")
            check()

        def on_execution(execution: Any) -> None:
            tell_fill(execution)
            check()

        engine.on_order, engine.on_execution = on_order, on_execution

    foreign = False
    """Somebody else trades on the account: its limits are not ours alone to keep."""

    is_lying = False
    """The model says what its artifact does not: the journal tells."""

    patience = 1.0
    """How many times as long as it may take what has to come is waited for: a slow machine is no fault."""

    def fail(self, what: str) -> None:
        if what not in self.broken and len(self.broken) < 5:
            self.broken.append(what)

    async def start(self) -> None:
        """Start the trader."""
        (self.folder / "state").mkdir(exist_ok=True)
        path = self.folder / f"trader-{len(self.outputs)}.log"
        self.outputs.append(path)
        environment = {**os.environ, "CMM_BYBIT_KEY": KEY, "CMM_BYBIT_SECRET": SECRET}
        with path.open("wb") as log:
            self.trader = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "engine.drill.trader", str(self.folder / "config.json"), market.SYMBOL,
                stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, env=environment,
            )  # fmt: skip

    async def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Wait for something that may come; return whether it did."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if holds():
                return True
            await asyncio.sleep(0.02)
        return False

    async def comes(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Wait for something that has to come; return whether it did."""
        return await self.until(holds, within_s * self.patience)

    async def quoting(self, within_s: float = _START_S) -> bool:
        """Wait until orders rest on both sides."""
        engine = self.exchange.engine
        return await self.comes(
            lambda: engine.resting(BID) > 0 < engine.resting(ASK) or self.has_ended(), within_s
        ) and (not self.has_ended())

    def has_ended(self) -> bool:
        return self.trader is None or self.trader.returncode is not None

    def has_stopped(self) -> bool:
        """Whether the trader will quote no more."""
        beat = self.state.heartbeat()
        return self.has_ended() or (beat is not None and (bool(beat.halted) or beat.phase in ("stopping", "stopped")))

    def agrees(self) -> bool:
        """Whether the trader's word on orders and position equals the exchange's."""
        beat, engine = self.state.heartbeat(), self.exchange.engine
        if beat is None or beat.phase != "trading" or time.monotonic_ns() - beat.mono_ns > 1e9:
            return False
        return beat.position == engine.position and set(beat.orders) == {o.link_id for o in engine.open.values()}

    @property
    def pid(self) -> int:
        assert self.trader is not None
        return self.trader.pid

    async def hit(self, side: int, lots: int) -> None:
        """Somebody trades aggressively against a side of the book."""
        engine = self.exchange.engine
        price = engine.best(side)
        if price is not None:
            now = self.exchange.now_ns()
            await self.exchange.feed(Trade("", now, now, price, lots, SELL if side == BID else BUY))

    def client(self) -> BybitAccountClient:
        return BybitAccountClient(self.contract, KEY, SECRET, self.exchange.url, self.config.live.request_s)

    def tail(self) -> str:
        """Last words of the trader."""
        return " | ".join(self.outputs[-1].read_text().strip().splitlines()[-2:])[-400:] if self.outputs else ""


def _within(section: str, **values: object) -> dict[str, object]:
    """Keys of one section."""
    return {f"{section}.{name}": value for name, value in values.items()}

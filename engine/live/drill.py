"""`cmm drill`: real trader, real watchdog, real adapter, and an exchange that does everything wrong.

Each try starts an exchange with an account of its own and a trader as a process, waits until it
quotes, does one thing to it, and then asks: were the limits kept at every moment, does nothing rest in
the end, do position and money of our own record equal the exchange's to the last digit?
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from engine.config import SHIPPED, Config
from engine.live import market
from engine.live.account import cancel_everything, recover_fills
from engine.live.journal import verify
from engine.live.state import StateFolder
from engine.live.store import Store
from models import artifact
from venues.bybit import BybitDesk
from venues.contracts import Contract, ContractTable
from venues.events import ASK, BID, BUY, SELL, BookUpdate, Trade
from venues.loopback.bybit import LoopbackBybit

_KEY, _SECRET = "drill-key", "drill-secret-never-on-disk"
_TABLE = """contracts:
- {exchange: BYBIT, product: BTCUSDT-LINEAR, kind: perpetual, currency: USDT, base: BTC, tick: 0.1, lot: 0.001,
   fees: {maker: 1.0e-5, taker: 5.5e-4}}
"""
_START_S, _END_S, _SAFE_S = 60.0, 45.0, 40.0
_WARM_UP_S = 1.5


class Result(msgspec.Struct):
    """One try."""

    fault: str
    seed: int
    survived: bool
    safe_s: float
    exit: int | None
    reason: str
    why: list[str]
    alarm_s: float | None


class Summary(msgspec.Struct):
    """All tries of a fault."""

    fault: str
    tries: int
    survived: int
    worst_s: float


class Try:
    """One trader at one exchange, and what is found out about them."""

    def __init__(self, folder: Path, seed: int, quick: Path, quick_hash: str, base: Config) -> None:
        self.folder, self.seed = folder, seed
        self.rng = random.Random(seed)
        folder.mkdir(parents=True)
        table = folder / "contracts.yaml"
        table.write_text(_TABLE)
        self.contract: Contract = ContractTable([table]).by_id(market.SYMBOL)
        self.exchange = LoopbackBybit(market.terms_of(self.contract), _KEY, _SECRET, Decimal(100_000), 400, seed)
        self.config = self._configure(base, table, quick, quick_hash)
        self.state = StateFolder(folder / "state")
        self.trader: asyncio.subprocess.Process | None = None
        self.broken: list[str] = []
        self.alarms: list[tuple[float, dict[str, Any]]] = []
        self.is_frozen = False
        self.shift = 0
        self._feeder: asyncio.Task[None] | None = None
        self._receiver: web.AppRunner | None = None
        self._outputs: list[Path] = []

    def _configure(self, base: Config, table: Path, quick: Path, quick_hash: str) -> Config:
        tree = msgspec.to_builtins(base)
        tree["data"]["contracts"] = [str(table)]
        tree["model"]["artifact"] = str(quick)
        tree["strategy"]["cmm"] |= {"spread_share": 0.2, "sigma_share": 0.0, "alpha": 1.0}
        tree["limits"] |= {
            "max_position_lots": 12, "max_order_lots": 5, "max_open_orders": 10, "max_order_notional": 50.0,
            "max_gross_notional": 1000.0, "max_net_notional": 1000.0, "max_messages_per_s": 150.0,
        }  # fmt: skip
        tree["guard"]["data"] |= {"stale_s": 1.5, "max_lag_ms": 400.0, "healthy_s": 0.5}
        tree["guard"]["model"] |= {"deadline_ms": 40.0, "min_confidence": 0.001}
        tree["guard"]["money"] |= {"loss_budget": 5.0, "max_drawdown": 5.0}
        tree["guard"]["fills"] |= {"fills": 8, "within_s": 0.5, "pause_s": 1.0}
        tree["live"] |= {
            "armed": True, "artifact_hash": quick_hash, "state": str(self.folder / "state"), "dead_man_s": 3,
            "answer_s": 2.0, "unreachable_s": 3.0,
        }  # fmt: skip
        return msgspec.convert(tree, Config)

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
        live = msgspec.structs.replace(
            self.config.live, base_url=self.exchange.url, webhook=f"http://127.0.0.1:{port}/"
        )
        self.config = msgspec.structs.replace(self.config, live=live)
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
                self._break(f"position limit: {position} held, {buys} bid, {sells} offered")
            if len(engine.open) > limits.max_open_orders:
                self._break(f"{len(engine.open)} open orders")

        def on_order(order: Any) -> None:
            tell_order(order)
            if not self.foreign and order.lots > limits.max_order_lots:
                self._break(f"order of {order.lots} lots")
            check()

        def on_execution(execution: Any) -> None:
            tell_fill(execution)
            check()

        engine.on_order, engine.on_execution = on_order, on_execution

    foreign = False
    """Somebody else trades on the account: its limits are not ours alone to keep."""

    is_lying = False
    """The model says what its artifact does not: the journal tells."""

    def _break(self, what: str) -> None:
        if what not in self.broken and len(self.broken) < 5:
            self.broken.append(what)

    async def start(self) -> None:
        """Start the trader."""
        (self.folder / "state").mkdir(exist_ok=True)
        path = self.folder / f"trader-{len(self._outputs)}.log"
        self._outputs.append(path)
        environment = {**os.environ, "CMM_BYBIT_KEY": _KEY, "CMM_BYBIT_SECRET": _SECRET}
        with path.open("wb") as log:
            self.trader = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "engine.live.drill_trader", str(self.folder / "config.json"), market.SYMBOL,
                stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, env=environment,
            )  # fmt: skip

    async def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Wait for something; return whether it came."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if holds():
                return True
            await asyncio.sleep(0.02)
        return False

    async def quoting(self, within_s: float = _START_S) -> bool:
        """Wait until orders rest on both sides."""
        engine = self.exchange.engine
        return await self.until(
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

    def desk(self) -> BybitDesk:
        return BybitDesk(self.contract, _KEY, _SECRET, self.exchange.url)

    def tail(self) -> str:
        """Last words of the trader."""
        return " | ".join(self._outputs[-1].read_text().strip().splitlines()[-2:])[-400:] if self._outputs else ""


type Fault = Callable[[Try], Awaitable[None]]


def _for(seconds: float, **changes: Any) -> Fault:
    """A fault of the exchange that lasts for a while."""

    async def fault(t: Try) -> None:
        before = {name: getattr(t.exchange.faults, name) for name in changes}
        for name, value in changes.items():
            setattr(t.exchange.faults, name, value)
        await t.until(t.has_ended, seconds)
        for name, value in before.items():
            setattr(t.exchange.faults, name, value)

    return fault


def _count(**changes: int) -> Fault:
    """So many faults of a kind; those not used up after a while are taken back."""

    async def fault(t: Try) -> None:
        for name, value in changes.items():
            setattr(t.exchange.faults, name, value)
        await t.until(lambda: not any(getattr(t.exchange.faults, name) for name in changes), 4.0)
        for name in changes:
            setattr(t.exchange.faults, name, 0)

    return fault


def _drop(kind: str | None) -> Fault:
    async def fault(t: Try) -> None:
        await t.exchange.drop_sockets(kind)
        await asyncio.sleep(2.0)

    return fault


def _restart(lose_orders: bool) -> Fault:
    async def fault(t: Try) -> None:
        t.is_frozen = True
        await t.exchange.restart(1.0, lose_orders)
        t.is_frozen = False

    return fault


def _signal(number: int, whom: str = "trader") -> Fault:
    async def fault(t: Try) -> None:
        beat = t.state.watchdog()
        if whom in ("watchdog", "both") and beat is not None:
            os.kill(beat.pid, number)
        if whom in ("trader", "both"):
            os.kill(t.pid, number)

    return fault


def _model(what: str) -> Fault:
    async def fault(t: Try) -> None:
        t.is_lying = True
        (t.state.path / "model-fault").write_text(what)
        await t.until(t.has_ended, 2.0)

    return fault


def _rejects(code: int) -> Fault:
    async def fault(t: Try) -> None:
        t.exchange.faults.reject_code = code
        await _count(reject_creates=15)(t)

    return fault


async def _frozen(t: Try) -> None:
    t.is_frozen = True
    await asyncio.sleep(3.0)
    t.is_frozen = False


async def _storm(t: Try) -> None:
    for _ in range(60):
        await t.hit(t.rng.choice((BID, ASK)), 1)
        await asyncio.sleep(0.01)


async def _one_sided_storm(t: Try) -> None:
    side = t.rng.choice((BID, ASK))
    for _ in range(40):
        await t.hit(side, t.rng.randint(1, 12))
        await asyncio.sleep(0.02)


async def _price_jump(t: Try) -> None:
    t.shift = t.rng.choice((-150, 150))
    now = t.exchange.now_ns()
    book = {side: t.exchange.engine.top(side, 8) for side in (BID, ASK)}
    levels = [(side, p + t.shift, q) for side, prices in book.items() for p, q in prices.items()]
    await t.exchange.feed(BookUpdate("", now, now, levels, snapshot=True))
    await asyncio.sleep(1.5)


async def _loss(t: Try) -> None:
    """Fill one side up, then move the market far against it."""
    await t.until(lambda: t.exchange.engine.position != 0 or t.has_ended(), 0.1)
    for _ in range(30):
        await t.hit(BID, 20)
        await asyncio.sleep(0.02)
    if t.exchange.engine.position <= 0:
        for _ in range(60):
            await t.hit(BID, 40)
            await asyncio.sleep(0.05)
    t.shift = -9000
    now = t.exchange.now_ns()
    book = {side: t.exchange.engine.top(side, 8) for side in (BID, ASK)}
    levels = [
        (side, max(p + t.shift, 20 + i), q) for side, prices in book.items() for i, (p, q) in enumerate(prices.items())
    ]
    await t.exchange.feed(BookUpdate("", now, now, levels, snapshot=True))
    await t.until(t.has_ended, 6.0)


async def _foreign_order(t: Try) -> None:
    t.foreign = True
    engine = t.exchange.engine
    engine.create("somebody-else", BID, (engine.best(BID) or 10_000) - 40, 3, "GTC", False)
    await t.exchange.flush()


async def _foreign_fill(t: Try) -> None:
    t.foreign = True
    t.exchange.engine.create("", BID, None, 4, "IOC", False)
    await t.exchange.flush()


async def _cancelled_by_venue(t: Try) -> None:
    t.exchange.engine.cancel_all("CancelByAdmin")
    await t.exchange.flush()
    await asyncio.sleep(0.5)


async def _rate_limit(t: Try) -> None:
    t.exchange.orders_per_s = 2
    await t.until(t.has_ended, 3.0)
    t.exchange.orders_per_s = 400


async def _disk_full(t: Try) -> None:
    """No file of the trader may grow any more."""
    resource.prlimit(t.pid, resource.RLIMIT_FSIZE, (0, 0))
    for _ in range(10):
        await t.hit(t.rng.choice((BID, ASK)), 10)
        await asyncio.sleep(0.1)


async def _artifact_changed(t: Try) -> None:
    folder = Path(t.config.model.artifact or "")
    with (folder / artifact.CARD).open("a") as handle:
        handle.write("touched\n")
    manifest = folder / artifact.MANIFEST
    manifest.write_text(manifest.read_text().replace('"name":', '"name" :', 1).replace("sim-", "SIM-", 1))
    await t.until(t.has_ended, 11.0)


async def _halt_command(t: Try) -> None:
    environment = {**os.environ, "CMM_BYBIT_KEY": _KEY, "CMM_BYBIT_SECRET": _SECRET}
    code = (
        "import sys, msgspec, pathlib; from engine.config import Config; from engine.live.halt import halt; "
        f"c = msgspec.json.decode(pathlib.Path({str(t.folder / 'config.json')!r}).read_bytes(), type=Config); "
        f"sys.exit(halt(c, {market.SYMBOL!r}, 'drill', False).exit)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment)
    if await process.wait():
        t._break(f"cmm halt: exit code {process.returncode}")


async def _halt_dead(t: Try) -> None:
    await _signal(signal.SIGKILL, "both")(t)
    await _halt_command(t)


async def _kill_and_restart(t: Try) -> None:
    for _ in range(5):
        await t.hit(t.rng.choice((BID, ASK)), 6)
    os.kill(t.pid, signal.SIGKILL)
    await t.hit(BID, 6)  # fills while nobody listens
    assert t.trader is not None
    await t.trader.wait()
    await t.start()
    if not await t.quoting():
        t._break(f"it did not quote again: {t.tail()}")


async def _second_trader(t: Try) -> None:
    first = t.trader
    await t.start()
    assert t.trader is not None
    if await t.trader.wait() != 2:
        t._break(f"a second trader on the same state folder was not refused: {t.tail()}")
    t._outputs.pop()
    t.trader = first


FAULTS: dict[str, tuple[Fault, str]] = {
    "public_disconnect": (_drop("public"), "goes_on"),
    "public_half_open": (_for(4.0, public_mute=True), "goes_on"),
    "public_lag": (_for(3.0, public_delay_s=1.0), "goes_on"),
    "public_duplicates": (_for(3.0, duplicate_public=True), "goes_on"),
    "public_gap": (_count(skip_public=15), "any"),
    "crossed_book": (_for(2.0, cross_book=True), "goes_on"),
    "one_sided_book": (_for(2.0, one_sided=True), "goes_on"),
    "frozen_market": (_frozen, "goes_on"),
    "private_disconnect": (_drop("private"), "any"),
    "private_half_open": (_for(60.0, private_mute=True), "stops"),
    "private_delay": (_for(3.0, private_delay_s=0.7), "any"),
    "private_duplicates": (_for(4.0, private_duplicate=True), "goes_on"),
    "private_out_of_order": (_for(4.0, private_shuffle=True), "any"),
    "private_garbage": (_count(garbage=10), "any"),
    "trade_disconnect": (_drop("trade"), "any"),
    "all_disconnect": (_drop(None), "any"),
    "rejected_orders": (_rejects(110007), "goes_on"),
    "server_errors": (_rejects(10016), "any"),
    "rejected_amends": (_count(reject_amends=5), "any"),
    "rejected_cancels": (_count(reject_cancels=6), "any"),
    "late_acks": (_for(4.0, ack_delay_s=0.8), "any"),
    "lost_acks": (_count(drop_acks=6), "any"),
    "lost_commands": (_count(lose_commands=4), "any"),
    "rate_limit": (_rate_limit, "any"),
    "ban": (_for(4.0, banned=True), "any"),
    "http_errors": (_for(2.0, http_status=500), "goes_on"),
    "http_silence": (_for(8.0, http_hang=True), "stops"),
    "restart_with_orders": (_restart(False), "any"),
    "restart_without_orders": (_restart(True), "any"),
    "clock_jumps_ahead": (_for(3.0, clock_skew_s=4.0), "any"),
    "clock_jumps_back": (_for(3.0, clock_skew_s=-8.0), "any"),
    "partial_fill_storm": (_storm, "goes_on"),
    "one_sided_storm": (_one_sided_storm, "any"),
    "price_jump": (_price_jump, "any"),
    "loss_budget": (_loss, "latches"),
    "foreign_order": (_foreign_order, "stops"),
    "foreign_fill": (_foreign_fill, "latches"),
    "cancelled_by_venue": (_cancelled_by_venue, "goes_on"),
    "nan_model": (_model("nan"), "goes_on"),
    "slow_model": (_model("slow"), "goes_on"),
    "unsure_model": (_model("unsure"), "goes_on"),
    "wild_model": (_model("wild"), "goes_on"),
    "failing_model": (_model("raises"), "latches"),
    "artifact_changed": (_artifact_changed, "goes_on"),
    "disk_full": (_disk_full, "stops_or_dies"),
    "sigterm": (_signal(signal.SIGTERM), "ends"),
    "sigint": (_signal(signal.SIGINT), "ends"),
    "kill_trader": (_signal(signal.SIGKILL), "dies"),
    "hung_trader": (_signal(signal.SIGSTOP), "dies"),
    "kill_watchdog": (_signal(signal.SIGKILL, "watchdog"), "stops"),
    "kill_both": (_signal(signal.SIGKILL, "both"), "dies"),
    "halt_running": (_halt_command, "latches"),
    "halt_dead": (_halt_dead, "dies"),
    "kill_and_restart": (_kill_and_restart, "goes_on"),
    "second_trader": (_second_trader, "goes_on"),
}
"""By name: what is done, and what has to follow. `goes_on`: the trader still runs; `stops`: it ends by
itself; `latches`: so that nothing starts again; `ends`: with exit code 0; `dies`: it is killed and
others clean up; `stops_or_dies`: either; `any`: it goes on or stops."""


async def run_try(folder: Path, name: str, seed: int, quick: Path, quick_hash: str, base: Config) -> Result:
    """One fault, once."""
    shutil.rmtree(folder, ignore_errors=True)
    own = folder / "artifact"
    t = Try(folder, seed, own, quick_hash, base)
    shutil.copytree(quick, own)
    fault, expected = FAULTS[name]
    try:
        await t.open()
        await t.start()
        if not await t.quoting():
            return Result(name, seed, False, 0.0, None, "", [f"it never quoted: {t.tail()}"], None)
        await asyncio.sleep(0.5 + 1.5 * t.rng.random())
        began = time.monotonic()
        doing = asyncio.create_task(_do(fault, t))
        engine = t.exchange.engine
        safe_at: list[float] = []

        def is_safe() -> bool:
            safe = not engine.open and t.has_stopped()
            if expected in ("goes_on", "any"):
                safe = safe or (doing.done() and t.agrees())
            if safe and not safe_at:
                safe_at.append(time.monotonic())
            return safe and doing.done()

        await asyncio.sleep(0.01)
        if not await t.until(is_safe, _SAFE_S):
            t._break("not safe in time")
        safe_s = (safe_at[0] if safe_at else time.monotonic()) - began
        await doing
        await _finish(t, expected)
        await _settle(t)
        alarm_s = min((at - began for at, _ in t.alarms if at >= began), default=None)
        alone = name in ("kill_both", "halt_dead")  # nobody is left to cry out
        if (
            expected in ("stops", "latches", "dies", "stops_or_dies")
            and not alone
            and (alarm_s is None or alarm_s > safe_s + 5.0)
        ):
            t._break(f"no alarm within 5 s ({alarm_s})")
        code = t.trader.returncode if t.trader is not None else None
        return Result(name, seed, not t.broken, safe_s, code, _reason(t), t.broken, alarm_s)
    except Exception as error:  # a drill that fails is a try that did not survive
        return Result(name, seed, False, 0.0, None, "", [*t.broken, f"{type(error).__name__}: {error}"], None)
    finally:
        await t.close()


async def _do(fault: Fault, t: Try) -> None:
    await fault(t)


def _reason(t: Try) -> str:
    latch = t.state.latched()
    request = t.state.stop_request()
    return latch.reason if latch is not None else request.reason if request is not None else ""


async def _finish(t: Try, expected: str) -> None:
    """See that what had to follow did, and end the trader."""
    assert t.trader is not None
    if expected in ("goes_on", "any"):
        if expected == "any":
            await t.until(t.has_ended, 6.0)
        else:
            await asyncio.sleep(1.0)
        if not t.has_ended():
            t.trader.send_signal(signal.SIGTERM)
        elif expected == "goes_on":
            t._break(f"the trader stopped: {t.tail()}")
    try:
        code = await asyncio.wait_for(t.trader.wait(), _END_S)
    except TimeoutError:
        t._break(f"the trader did not end: {t.tail()}")
        return
    allowed = {
        "goes_on": {0}, "any": {0, 3, 4}, "stops": {3, 4}, "latches": {3}, "ends": {0}, "dies": {-9},
        "stops_or_dies": {3, 4, -9},
    }[expected]  # fmt: skip
    if code not in allowed:
        t._break(f"exit code {code}: {t.tail()}")
    if expected == "latches" and t.state.latched() is None:
        t._break("no latch stands")
    beat = t.state.watchdog()
    if beat is not None:  # it has the last look, or the rescue, to finish
        await t.until(lambda: not Path(f"/proc/{beat.pid}").exists() or _is_zombie(beat.pid), 30.0)
    await t.until(lambda: not t.exchange.engine.open, 15.0)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def _settle(t: Try) -> None:
    """Nothing rests; our record, brought up to date as a start does, equals the exchange's."""
    engine = t.exchange.engine
    t.exchange.faults = type(t.exchange.faults)()
    if engine.open:
        t._break(f"{len(engine.open)} orders rest in the end")
    desk, store = t.desk(), Store(t.state.path / "store.sqlite", t.contract)
    try:
        wound = await cancel_everything(desk, 10.0)
        if wound.resting != 0:
            t._break(f"{wound.resting} orders rest by query")
        await recover_fills(desk, store)
        totals = store.totals()
    finally:
        await desk.close()
        store.close()
    if totals.position != engine.position:
        t._break(f"position {totals.position} by our record, {engine.position} at the exchange")
    if totals.flow != engine.flow or totals.commissions != engine.fees:
        t._break(f"money {totals.flow} by our record, {engine.flow} at the exchange")
    if totals.fills != len(engine.executions):
        t._break(f"{totals.fills} fills by our record, {len(engine.executions)} at the exchange")
    for path in sorted((t.state.path / "journal").glob("*.jsonl")):
        if path.stat().st_size and "artifact" not in _reason(t):
            with suppress(Exception):  # a changed artifact cannot verify; a torn header neither
                differing = [d for d in verify(path).differences if not (t.is_lying and d.what.startswith("forecast"))]
                if differing:
                    t._break(f"{path.name}: {len(differing)} decisions differ: {differing[0].what[:120]}")
    for path in t.folder.rglob("*"):
        if path.is_file() and _SECRET.encode() in path.read_bytes():
            t._break(f"{path}: holds the secret")


def quick_artifact(folder: Path) -> str:
    """A copy of the shipped artifact that is warm after a moment; return its hash."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SHIPPED, folder)
    manifest = artifact.read(folder)
    spec = msgspec.structs.replace(manifest.spec, warm_up_s=_WARM_UP_S)
    manifest = msgspec.structs.replace(manifest, spec=spec, spec_hash=spec.hash)
    (folder / artifact.MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return artifact.read(folder).hash


async def drill(
    folder: Path,
    names: list[str],
    tries: int,
    jobs: int,
    seed: int,
    base: Config,
    tell: Callable[[Result, float], None],
) -> list[Result]:
    """Run each fault `tries` times, `jobs` at once."""
    quick = folder / "artifact"
    quick_hash = quick_artifact(quick)
    todo = [(name, seed + 1000 * i + k) for i in range(tries) for k, name in enumerate(names)]
    queue = list(reversed(todo))
    results: list[Result] = []

    async def work() -> None:
        while queue:
            name, own = queue.pop()
            result = await run_try(folder / f"{name}-{own}", name, own, quick, quick_hash, base)
            results.append(result)
            tell(result, len(results) / len(todo))

    await asyncio.gather(*(work() for _ in range(jobs)))
    return results


def summarise(results: list[Result]) -> list[Summary]:
    """By fault, in order of appearance in `FAULTS`."""
    found = []
    for name in FAULTS:
        own = [r for r in results if r.fault == name]
        if own:
            survived = sum(r.survived for r in own)
            found.append(Summary(name, len(own), survived, max(r.safe_s for r in own)))
    return found

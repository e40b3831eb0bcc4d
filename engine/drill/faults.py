"""What a drill does to a trader and its exchange, and what has to follow."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.drill.attempt import KEY, SECRET, Try
from engine.drill.data_faults import bad_data
from engine.live.deployment import deployment as deployments
from market.events import ASK, BID, BookUpdate
from models.ensemble import artifact
from venues.loopback import market

_FALL_TICKS = 9000

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
    """Fill the bids until the coming fall costs more than the budget, then let the market fall."""
    value = float(t.contract.terms.tick * t.contract.terms.lot)
    enough = int((t.config.guard.money.loss_budget or 0.0) / (_FALL_TICKS * value)) + 2
    for _ in range(300):
        if t.exchange.engine.position >= enough or t.has_ended():
            break
        await t.hit(BID, 20)
        await asyncio.sleep(0.05)
    t.shift = -_FALL_TICKS
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
    environment = {**os.environ, "CMM_BYBIT_KEY": KEY, "CMM_BYBIT_SECRET": SECRET}
    code = (
        "import sys, msgspec, pathlib; from engine.config import Config; from engine.live.safety.halt import halt; "
        f"c = msgspec.json.decode(pathlib.Path({str(t.folder / 'config.json')!r}).read_bytes(), type=Config); "
        f"sys.exit(halt(c, {market.SYMBOL!r}, 'drill', False).exit)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        t.fail(f"cmm halt: exit code {process.returncode}")


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

    def trades() -> bool:
        beat = t.state.heartbeat()
        return t.has_ended() or (beat is not None and beat.pid == t.pid and beat.phase == "trading")

    # what rests at first may be the dead one's
    if not await t.comes(trades, 60.0) or not await t.quoting():
        t.fail(f"it did not quote again: {t.tail()}")


def _promotion(kill: bool) -> Fault:
    """Another artifact takes over, in the middle of fills; and the trader may be killed while it does."""

    async def fault(t: Try) -> None:
        new = t.folder / "new-artifact"
        shutil.copytree(Path(t.config.model.artifact or ""), new)
        manifest = msgspec.structs.replace(artifact.read(new), name="new")
        (new / artifact.MANIFEST).write_bytes(msgspec.json.encode(manifest))
        state, who = t.state.path, deployments.member(new)

        async def answered(request: deployments.Request) -> bool:
            deployments.ask(state, request)
            return await t.comes(lambda: (a := deployments.answered(state, request.id)) is not None and a.done, 10.0)

        if not await answered(deployments.Request("shadow", "shadow", who, False, "drill")):
            t.fail("it did not take the artifact into its shadow")
            return
        promote = deployments.Request("promote", "promote", None, True, "drill")
        if kill:
            deployments.ask(state, promote)
            await asyncio.sleep(0.6 * t.rng.random())
            await _kill_and_restart(t)
        else:
            await t.hit(t.rng.choice((BID, ASK)), 6)
            if not await answered(promote) or not await t.quoting():
                t.fail("it did not promote the artifact")
        found = deployments.read_deployment(state)
        with max((state / "journal").glob("*.jsonl")).open() as rows:
            trades = msgspec.json.decode(rows.readline(), type=dict[str, Any])["artifact_hash"]
        if found is None or trades != found.trading.hash or (not kill and trades != who.hash):
            t.fail(f"{trades} trades, the deployment says {found}")

    return fault


async def _second_trader(t: Try) -> None:
    first = t.trader
    await t.start()
    assert t.trader is not None
    if await t.trader.wait() != 2:
        t.fail(f"a second trader on the same state folder was not refused: {t.tail()}")
    t.outputs.pop()
    t.trader = first


FAULTS: dict[str, tuple[Fault, str]] = {
    "public_disconnect": (_drop("public"), "goes_on"),
    "public_half_open": (_for(4.0, public_mute=True), "goes_on"),
    "public_lag": (bad_data("lagging", 4.0, public_delay_s=1.0), "goes_on"),
    "public_duplicates": (_for(3.0, duplicate_public=True), "goes_on"),
    "public_gap": (_count(skip_public=15), "any"),
    "crossed_book": (bad_data("crossed", 3.0, cross_book=True), "goes_on"),
    "flickering_book": (bad_data("crossed", 4.0, flicker_s=0.1, cross_book=True), "goes_on"),
    "one_sided_book": (bad_data("one_sided", 5.0, one_sided=True), "goes_on"),
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
    "promotion": (_promotion(kill=False), "goes_on"),
    "kill_while_promoting": (_promotion(kill=True), "goes_on"),
}
"""By name: what is done, and what has to follow. `goes_on`: the trader still runs; `stops`: it ends by
itself; `latches`: so that nothing starts again; `ends`: with exit code 0; `dies`: it is killed and
others clean up; `stops_or_dies`: either; `any`: it goes on or stops."""

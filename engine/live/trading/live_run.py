"""`cmm live`: the trader. Checks, recovers, trades under watch, and ends with nothing resting."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.assembly import make_predictor, quoter_kind
from engine.config import SHIPPED, Config
from engine.live.deployment.deployment import begin
from engine.live.errors import Exit, HaltedError
from engine.live.records.store import Store
from engine.live.safety.account import (
    NO_MID,
    Keys,
    Wound,
    cancel_everything,
    flatten,
    is_ours,
    keys,
    open_client,
    recover_fills,
)
from engine.live.safety.state import Heartbeat, StateFolder
from engine.live.trading import checklist
from engine.live.trading.node import make_builder
from engine.live.trading.trader import Trader, latch
from engine.plan import Plan, plan_live
from engine.recordings.catalog import contract_table
from market.contracts import Contract
from market.errors import ConfigError
from models.ensemble.predictor import Predictor
from strategies.trading_state import Reason
from venues.live.account_client import AccountClientError
from venues.live.adapters import add_bybit_execution, add_public_data

_VERIFY_S = 20.0


class Report(msgspec.Struct):
    """How a run ended."""

    exit: int
    reason: str
    resting: int | None
    position: int
    venue_position: int | None
    flow: str
    commissions: str
    fills: int
    recovered: int
    counts: dict[str, int]
    journal: str | None
    cancel_s: float


def _quietly(write: Callable[[], None]) -> None:
    """Write what may be missing: a full disk does not keep us from cancelling."""
    with suppress(OSError):
        write()


def choose(config: Config) -> Plan:
    """Which artifact trades: the one the configuration names, else the shipped one."""
    path, kind = None, quoter_kind(config.strategy.quoter)
    if kind.needs_forecast:
        path = Path(config.model.artifact) if config.model.artifact is not None else SHIPPED
    intensity = None
    if config.strategy.intensity.a is not None and config.strategy.intensity.k is not None:
        intensity = (config.strategy.intensity.a, config.strategy.intensity.k)
    return Plan(config, config.strategy.quoter, path, intensity, quoter_sha256=kind.sha256)


def run_live(
    config: Config,
    instrument: str,
    show: Callable[[list[checklist.Item]], None],
    load: Callable[[Plan], Predictor | None] = make_predictor,
) -> Report:
    """Trade until stopped.

    Parameters
    ----------
    config : Config
    instrument : str
    show : callable
        Shown the checklist.
    load : callable
        Makes the predictor of a plan.

    Raises
    ------
    ConfigError
        Not fit to start: nothing was sent that could trade.
    HaltedError
        A latch stands.

    """
    contract = contract_table(config).by_id(instrument)
    credentials = keys(config.live)
    state = StateFolder(Path(config.live.state))
    found = state.latched()
    if found is not None:
        raise HaltedError(
            f"{state.path / 'latch.json'}: trading was stopped ({found.reason}: {found.detail}); look into it, "
            "then `cmm halt --clear --reason …`"
        )
    state.take()
    try:
        return _run(config, contract, credentials, state, show, load)
    finally:
        state.release()


def _run(
    config: Config,
    contract: Contract,
    credentials: Keys,
    state: StateFolder,
    show: Callable[[list[checklist.Item]], None],
    load: Callable[[Plan], Predictor | None],
) -> Report:
    plan, deployment = begin(state.path, choose(config), config.live.artifact_hash)
    items = checklist.check_config(config)
    items += checklist.check_quoter(plan)
    if plan.artifact is not None:
        items += checklist.check_artifact(config, plan.artifact, dt.datetime.now(dt.UTC).date(), deployment)
    error = checklist.refusal(items)
    if error is not None:
        show(items)
        raise error
    state.forget_stop()
    is_new = not (state.path / "store.sqlite").exists()
    store = Store(state.path / "store.sqlite", contract)
    try:
        more, price = asyncio.run(_ask_venue(config, contract, credentials, store, is_new))
    except AccountClientError as broken:
        raise ConfigError(f"not ready to go live: the venue does not answer: {broken}") from broken
    finally:
        store.close()
    items += more
    show(items)
    error = checklist.refusal(items)
    if error is not None:
        raise error
    if price is None:
        raise ConfigError(f"{contract.id}: the venue shows no sound book; start again when it has two sides")
    trader = Trader(plan_live(plan, contract, price, time.time_ns()), state, load(plan), deployment)
    with trader.stopper.signals(only_ask=True):  # until the very end: a second signal does not cut the cancelling short
        return _trade(trader, config, contract, credentials, state)


def _trade(trader: Trader, config: Config, contract: Contract, credentials: Keys, state: StateFolder) -> Report:
    watchdog = _start_watchdog(config, contract, state)
    try:
        if not _await_watchdog(config, state, watchdog):
            trader.stop_for(Reason.WATCHDOG_LOST)
        elif not trader.stopper.asked.is_set():
            _run_node(trader, config, contract, credentials)
    except Exception as failure:
        trader.maker.trading.fail(failure)
    return _wind_up(trader, config, contract, credentials, state, watchdog)


def _run_node(trader: Trader, config: Config, contract: Contract, credentials: Keys) -> None:
    """Trade in a live node until it ends."""
    builder = make_builder(live=True)
    adapter = msgspec.structs.replace(
        getattr(config.adapters, config.live.venue), environment=config.live.environment,
        base_url=config.live.base_url,
    )  # fmt: skip
    builder = add_public_data(builder, config.live.venue, adapter, contract.id)
    builder = add_bybit_execution(builder, config.live.environment, config.live.base_url, *credentials)
    trader.beat()
    node = builder.build()
    trader.stopper.bind(node)
    node.add_strategy(trader.maker)
    node.run()
    if not trader.maker.trading.is_over:
        trader.stop_for(Reason.NODE_ENDED)  # Nautilus stopped by itself, on an error of its own


async def _ask_venue(
    config: Config, contract: Contract, credentials: Keys, store: Store, is_new: bool
) -> tuple[list[checklist.Item], float | None]:
    client = open_client(config.live, contract, credentials)
    try:
        items = await checklist.check_venue(config, contract, client)
        items += await checklist.check_account(config, client, store, is_new)
        return items, await client.mid_ticks()
    finally:
        await client.close()


def _start_watchdog(config: Config, contract: Contract, state: StateFolder) -> subprocess.Popen[bytes] | None:
    """A process of its own, in a session of its own: what ends the trader does not end it.

    None where a service watches: it finds the trader by its heartbeat.
    """
    settings = state.keep_config(config)
    (state.path / "watchdog.json").unlink(missing_ok=True)
    _beat_starting(state)
    if config.live.watchdog == "service":
        return None
    with (state.path / "watchdog.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "engine.live.safety.watchdog", str(settings), contract.id, str(os.getpid())],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def _beat_starting(state: StateFolder) -> None:
    state.beat(Heartbeat(os.getpid(), time.monotonic_ns(), 0, "starting"))


def _await_watchdog(config: Config, state: StateFolder, watchdog: subprocess.Popen[bytes] | None) -> bool:
    """Whether the watchdog came up: it beats, has audited (between two beats of ours), and holds the lifeline."""
    deadline = time.monotonic() + config.live.start_s
    while time.monotonic() < deadline:
        beat = state.watchdog()
        if beat is not None and beat.audits and (beat.lifeline or not config.live.dead_man_s):
            return True
        if watchdog is not None and watchdog.poll() is not None:
            break
        time.sleep(0.05)
        _quietly(lambda: _beat_starting(state))
    return False


def _wind_up(
    trader: Trader, config: Config, contract: Contract, credentials: Keys, state: StateFolder,
    watchdog: subprocess.Popen[bytes] | None,
) -> Report:  # fmt: skip
    """Cancel, verify, learn the last fills, report; the watchdog looks once more and leaves."""
    maker = trader.maker
    trader.phase = "stopping"
    _quietly(trader.beat)
    if maker.failure is not None:
        trader.reason = trader.reason or "exception"
        latch(state, trader.alarms, "exception", trader.detail())
    trader.reason = trader.reason or "signal"
    wound, recovered, venue_position = asyncio.run(_close_account(trader, config, contract, credentials))
    totals = trader.store.totals()
    position = totals.position + int(trader.store.get("start_position") or 0)
    latched = state.latched()
    if wound.resting != 0:
        code = Exit.UNSAFE
        trader.alarms.raise_("unsafe", f"{contract.id}: could not verify that no order rests at the venue")
    elif latched is not None:
        code = Exit.HALTED
    else:
        code = Exit.OK if trader.reason == "signal" else Exit.STOPPED
    if venue_position is not None and abs(venue_position - position) > config.live.tolerance_lots:
        latch(state, trader.alarms, "drift", f"{venue_position} lots at the venue, {position} by our fills")
        trader.alarms.raise_("drift", f"{contract.id}: {venue_position} lots at the venue, {position} by our fills")
        code = max(code, Exit.HALTED)
    trader.phase = "stopped"
    _quietly(trader.beat)
    if trader.telemetry is not None:
        trader.telemetry.close(trader.phase, wound.resting)
    if trader.models is not None:
        trader.models.close()
    if watchdog is not None:
        try:
            watchdog.wait(10.0)
        except subprocess.TimeoutExpired:
            watchdog.kill()
    if trader.recording is not None:
        trader.recording.close()
    journal = trader.journals.journal
    trader.journals.close()
    if trader.order_log is not None:
        trader.order_log.close()
    trader.store.close()
    trader.alarms.close()
    return Report(
        int(code), trader.reason, wound.resting, position, venue_position, format(totals.flow, "f"),
        format(totals.commissions, "f"), totals.fills, recovered, dict(maker.counts),
        str(journal.path) if journal is not None else None, wound.seconds,
    )  # fmt: skip


async def _close_account(
    trader: Trader, config: Config, contract: Contract, credentials: Keys
) -> tuple[Wound, int, int | None]:
    client = open_client(config.live, contract, credentials)
    try:
        wound = await cancel_everything(client, _VERIFY_S)
        try:
            if config.live.flatten.enabled and trader.reason != "signal":
                mid = trader.maker.mid_ticks if not trader.maker.problem else None
                mid = await client.mid_ticks() if mid is None else mid
                if mid is not None:
                    await flatten(client, config.live.flatten.max_loss_bps, mid)
                else:
                    trader.alarms.raise_("unsettled", f"{contract.id}: {NO_MID}")
            found = await recover_fills(client, trader.store)
            foreign = [fill.trade_id for fill in found if not is_ours(fill.link_id)]
            if foreign:
                latch(
                    trader.state, trader.alarms, "foreign_fill", f"trades that are not ours: {', '.join(foreign[:5])}"
                )
            return wound, len(found), await client.position_lots()
        except (AccountClientError, sqlite3.Error) as error:  # what is missing is learnt at the next start
            trader.alarms.raise_("unsettled", str(error))
            return wound, 0, None
    finally:
        await client.close()

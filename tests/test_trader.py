"""The trader around its maker: what it hears of the watchdog, what it cries out, how it closes the account."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine.config import Config, FlattenConfig, LiveConfig, MonitorConfig
from engine.live.safety import halt as halting
from engine.live.safety.account import Keys
from engine.live.safety.state import StateFolder, WatchdogBeat
from engine.live.trading.live_run import _close_account
from engine.live.trading.trader import Trader
from engine.plan import Plan, plan_live
from market.events import ASK, BID, BookUpdate
from strategies.guard import GuardConfig, MoneyGuardConfig
from strategies.limits import AccountExposure
from strategies.maker import MarketMaker
from tests.driven import CONTRACT
from venues.loopback.bybit import LoopbackBybit
from venues.loopback.market import terms_of

BOOK = [(BID, 99_990, 50), (BID, 99_900, 50), (ASK, 100_010, 50), (ASK, 100_100, 50)]


type Make = Callable[..., Trader]


@pytest.fixture
def trader(tmp_path: Path) -> Iterator[Make]:
    """Makes a trader that a watchdog watches; its strategy is dropped on the thread that made it."""
    made: list[Trader] = []

    def make(**live: Any) -> Trader:
        config = Config(
            live=LiveConfig(state=str(tmp_path), **live), monitor=MonitorConfig(enabled=False),
            guard=GuardConfig(money=MoneyGuardConfig(loss_budget=100.0)),
        )  # fmt: skip
        plan = plan_live(Plan(config, "foic", None, None), CONTRACT, 100_000.0, time.time_ns())
        one = Trader(plan, StateFolder(tmp_path), None)
        one.maker._ports.clock._clock = SimpleNamespace(timestamp_ns=time.time_ns)  # there is no engine with a clock
        one.state.watchdog_beat(WatchdogBeat(os.getpid(), time.monotonic_ns(), 1, 5.0, -5.0, True))
        made.append(one)
        return one

    yield make
    for one in made:
        one.store.close()
        one.journals.close()
    made.clear()
    gc.collect()


def alarms(folder: Path) -> list[tuple[str, str]]:
    path = folder / "alarms.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(row["kind"], row["text"]) for row in rows]


def test_market_data_that_keep_quotes_away_raise_one_alarm(trader: Make, tmp_path: Path) -> None:
    t = trader(data_alarm_s=1e-6)
    t.beat_and_look()
    assert alarms(tmp_path) == []
    for problem in ("one_sided", "one_sided", "recovering", "recovering"):
        t.maker.problem = problem
        t.beat_and_look()
        assert t.state.heartbeat().problem == problem  # type: ignore[union-attr]
    assert [kind for kind, _ in alarms(tmp_path)] == ["market_data"]
    assert alarms(tmp_path)[0][1].endswith(": one_sided")
    t.maker.problem = ""
    t.beat_and_look()
    t.beat_and_look()
    assert [kind for kind, _ in alarms(tmp_path)] == ["market_data", "market_data_well"]
    assert t.maker.trading.halted == ""


def test_four_fifths_of_a_money_limit_raise_one_alarm(trader: Make, tmp_path: Path) -> None:
    t = trader()
    for used in (0.79, 0.81, 0.99):
        t.maker.money.used = used
        t.beat_and_look()
    assert [kind for kind, _ in alarms(tmp_path)] == ["budget"]


def test_what_the_watchdog_does_not_know_nobody_knows(trader: Make, tmp_path: Path) -> None:
    t = trader()
    t.beat_and_look()
    assert t.maker._account == AccountExposure("", 5.0, -5.0)
    t.state.watchdog_beat(WatchdogBeat(os.getpid(), time.monotonic_ns(), 1, None, None, True))
    t.beat_and_look()
    assert t.maker._account.unknown == "balance"
    assert t.maker._account.others_gross != t.maker._account.others_gross
    t.state.watchdog_beat(WatchdogBeat(os.getpid(), time.monotonic_ns() - 3 * 10**9, 1, 0.0, 0.0, True))
    t.beat_and_look()
    assert t.maker.trading.halted == "watchdog_lost"
    assert [kind for kind, _ in alarms(tmp_path)] == ["halt"]


@pytest.mark.parametrize(
    ("reason", "seen", "fault", "left", "alarm"),
    [
        ("loss_budget", 100_000.0, "", 0, []),
        ("loss_budget", None, "", 0, []),  # our book is not sound, the venue's is
        ("loss_budget", 90_000.0, "", 7, []),  # no further than max_loss_bps beyond the mid
        ("loss_budget", None, "one_sided", 7, ["unsettled"]),
        ("signal", 100_000.0, "", 7, []),
    ],
)
def test_a_halt_closes_the_position_where_it_is_to(
    reason: str, seen: float | None, fault: str, left: int, alarm: list[str], trader: Make, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(MarketMaker, "mid_ticks", property(lambda _: seen))

    async def run() -> None:
        exchange = LoopbackBybit(terms_of(CONTRACT), "K", "S", Decimal(100_000))
        await exchange.start()
        exchange.engine.update(BookUpdate("X", 0, 0, BOOK, snapshot=True))
        exchange.engine.create("O-1", ASK, 99_990, 7, "IOC", False)
        exchange.engine.create("O-2", BID, 99_000, 3, "GTC", False)
        if fault:
            setattr(exchange.faults, fault, True)
        t = trader(base_url=exchange.url, flatten=FlattenConfig(enabled=True, max_loss_bps=20))
        t.reason = reason
        try:
            wound, recovered, position = await _close_account(t, t.config, CONTRACT, Keys("K", "S"))
            assert (wound.resting, recovered, position) == (0, 1 + (left == 0), -left)
            assert exchange.engine.position == -left
            assert t.store.totals().position == -left
        finally:
            await exchange.stop()
        assert [kind for kind, _ in alarms(tmp_path)] == alarm

    asyncio.run(run())


def test_cmm_halt_says_where_there_is_no_price_to_close_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> list[Any]:
        return []

    async def answer(value: Any) -> Any:
        return value

    client = SimpleNamespace(
        cancel_all=nothing, open_orders=nothing, close=nothing, mid_ticks=lambda: answer(None),
        position_lots=lambda: answer(4),
    )  # fmt: skip
    monkeypatch.setattr(halting, "open_client", lambda *_: client)
    monkeypatch.setattr(halting, "keys", lambda _: None)
    config = msgspec.structs.replace(Config(), live=LiveConfig(state=str(tmp_path)))
    found = halting.halt(config, CONTRACT.id, "test", True)
    assert (found.exit, found.position) == (0, 4)
    assert [kind for kind, _ in alarms(tmp_path)] == ["halt", "unsettled"]
    assert "not closed" in alarms(tmp_path)[1][1]

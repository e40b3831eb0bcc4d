"""Live trading with the true adapter against the loopback exchange; store, latch and refusals on their own."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.config import Config
from engine.drill import campaign as drill
from engine.drill.attempt import KEY, SECRET
from engine.live.records.store import DayState, Store
from engine.live.safety.alarms import Alarms
from engine.live.safety.state import Heartbeat, StateFolder
from engine.recordings.captured import recorded_catalog
from market.contracts import ContractTable
from market.errors import ConfigError
from market.events import ASK, BID
from tests.traders import HUNG_S, SILENCE, PatientTry
from venues.live.account_client import VenueFill

BTC = "BTCUSDT-LINEAR.BYBIT"
CONTRACT = ContractTable().by_id(BTC)

# ── the drill, shortened: one try of what differs most ────────────────────────────────────────

FAULTS = [
    "kill_while_promoting", "kill_and_restart", "public_half_open", "partial_fill_storm", "private_half_open",
    "loss_budget", "flickering_book", "halt_running", "hung_trader", "kill_both", "failing_model", "disk_full", "second_trader", "sigterm",
]  # fmt: skip


@pytest.fixture(scope="module")
def drilled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, drill.Result]:
    """The tries that are asked for, six at once: most of a try is waiting."""
    asked = {item.callspec.params.get("fault") for item in request.session.items if hasattr(item, "callspec")}  # type: ignore[attr-defined]
    names = [name for name in FAULTS if name in asked]
    folder = tmp_path_factory.mktemp("drill")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drill, "Try", PatientTry)
        results = asyncio.run(drill.drill(folder, names, 1, 6, 7, Config(), lambda *_: None))
    return {result.fault: result for result in results}


@pytest.mark.parametrize("fault", FAULTS)
def test_drill(fault: str, drilled: dict[str, drill.Result]) -> None:
    assert drilled[fault].why == []
    assert drilled[fault].survived


class Service:
    """A trader, and a watchdog beside it as a service of its own."""

    def __init__(self, folder: Path, quick: Path, quick_hash: str) -> None:
        base = Config()
        base = msgspec.structs.replace(base, live=msgspec.structs.replace(base.live, watchdog="service"))

        class Quiet(PatientTry):
            about = SILENCE

        self.t = Quiet(folder, 7, quick, quick_hash, base)
        self.watchdog: asyncio.subprocess.Process | None = None

    async def watch(self) -> asyncio.subprocess.Process:
        with (self.t.folder / "watchdog.log").open("ab") as log:
            self.watchdog = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "engine.cli", "watchdog", "--instrument", BTC,
                "--config", str(self.t.folder / "config.json"), stdout=log, stderr=log,
            )  # fmt: skip
        return self.watchdog

    async def trade(self) -> asyncio.subprocess.Process:
        await self.t.start()
        assert await self.t.quoting(), self.t.tail()
        assert self.t.trader is not None
        return self.t.trader

    def nothing_rests(self) -> bool:
        engine = self.t.exchange.engine
        return engine.resting(BID) == engine.resting(ASK) == 0

    async def cleaned(self, times: int) -> bool:
        """Whether the watchdog comes to say so many times that nothing rests."""
        alarms = self.t.state.path / "alarms.jsonl"
        return await self.t.until(lambda: alarms.exists() and alarms.read_text().count('"safe"') == times, HUNG_S)

    async def __aenter__(self) -> Service:
        await self.t.open()
        await self.watch()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.watchdog is not None and self.watchdog.returncode is None:
            self.watchdog.kill()
            await self.watchdog.wait()
        await self.t.close()


def test_a_watchdog_as_a_service_outlives_traders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes as systemd or compose run them: each may die and come back, and nothing is left resting."""
    quick = tmp_path / "artifact"
    quick_hash = drill.quick_artifact(quick)
    monkeypatch.setenv("CMM_BYBIT_KEY", KEY)
    monkeypatch.setenv("CMM_BYBIT_SECRET", SECRET)

    async def one_after_the_other() -> None:
        async with Service(tmp_path / "one", quick, quick_hash) as s:
            trader = await s.trade()
            trader.kill()  # the watchdog stays, cleans up …
            await trader.wait()
            assert await s.cleaned(1)
            assert s.nothing_rests()
            trader = await s.trade()  # … and watches the next one
            assert s.watchdog is not None
            s.watchdog.kill()  # without it the trader stops, for a supervisor to start again
            assert await asyncio.wait_for(trader.wait(), HUNG_S) == 4
            assert s.nothing_rests()

    async def both_at_once() -> None:
        async with Service(tmp_path / "both", quick, quick_hash) as s:
            trader = await s.trade()
            assert s.watchdog is not None
            for process in (s.watchdog, trader):  # and only the watchdog comes back
                process.kill()
                await process.wait()
            watchdog = await s.watch()
            assert await s.cleaned(1)
            assert s.nothing_rests()
            watchdog.terminate()
            assert await asyncio.wait_for(watchdog.wait(), HUNG_S) == 0

    async def work() -> None:
        await asyncio.gather(one_after_the_other(), both_at_once())

    asyncio.run(work())


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for something that a process does."""
    deadline = time.monotonic() + HUNG_S
    while not holds():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_paper_on_public_data_of_an_exchange(tmp_path: Path) -> None:
    """Both commands as a user runs them: `cmm exchange`, and `cmm paper` on its public streams, until interrupted."""
    quick = tmp_path / "artifact"
    drill.quick_artifact(quick)
    exchange_log, log, out = (tmp_path / name for name in ("exchange.log", "paper.log", "paper.json"))
    started: list[subprocess.Popen[bytes]] = []

    def start(stdout: Path, stderr: Path, *words: str) -> subprocess.Popen[bytes]:
        with stdout.open("wb") as one, stderr.open("ab") as other:
            command = [sys.executable, "-m", "engine.cli", *words]
            started.append(subprocess.Popen(command, stdout=one, stderr=other, cwd=tmp_path))
        return started[-1]

    def decisions() -> int:
        return sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("runs/*/journal.jsonl"))

    try:
        exchange = start(exchange_log, exchange_log, "exchange", "--speed", "4")
        wait_for(lambda: "http://" in exchange_log.read_text(), exchange, exchange_log)
        url = exchange_log.read_text().split()[-1]
        settings = [
            f"model.artifact={quick}", "fees.scenario=zero", "strategy.cmm.spread_share=0.2", "live.record=true",
            f"guard.data.stale_s={HUNG_S}", f"guard.data.max_lag_ms={HUNG_S}e3", f"guard.model.deadline_ms={HUNG_S}e3",
        ]  # fmt: skip
        paper = start(
            out, log, "paper", "--venue", "bybit", "--instrument", BTC, "--base-url", url, "--json",
            *(part for s in settings for part in ("--set", s)),
        )  # fmt: skip
        wait_for(lambda: decisions() > 100, paper, log)
        paper.send_signal(signal.SIGINT)
        assert paper.wait(HUNG_S) == 0, log.read_text()
        summary = json.loads(out.read_text().splitlines()[-1])
        assert summary["total"]["order_actions"] > 10
        (journal,) = tmp_path.glob("runs/*/journal.jsonl")
        code, text = cmm("replay-journal", str(journal), "--verify", "--json")
        assert (code, json.loads(text)["differences"]) == (0, [])
        [day] = recorded_catalog(journal.parent, Config()).days(BTC).values()
        assert day.book_updates == summary["total"]["book_updates"]
        assert (day.drops, day.notes) == ({}, [])
        exchange.send_signal(signal.SIGINT)
        assert exchange.wait(HUNG_S) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert exchange_log.read_text().rstrip().endswith("closed")


# ── store ─────────────────────────────────────────────────────────────────────────────────────


def venue_fill(trade_id: str, side: int = BID, lots: int = 2) -> VenueFill:
    return VenueFill(trade_id, "O-1", side, 100_000, lots, True, Decimal("0.00012345"), 5)


def test_a_fill_counts_once_however_often_it_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite", CONTRACT)
    fill = venue_fill("a")
    assert store.add("a", "O-1", 5, BID, 100_000, 2, True, fill.commission)
    assert not store.add("a", "O-1", 5, BID, 100_000, 2, True, fill.commission)
    assert [f.trade_id for f in store.recover([fill, venue_fill("b", ASK, 5)])] == ["b"]
    totals = store.totals()
    assert (totals.position, totals.fills) == (-3, 2)
    value = Decimal(100_000) * Decimal("0.1") * Decimal("0.001")
    assert totals.flow == 3 * value - 2 * fill.commission
    store.put_day(DayState("2026-01-01", 1.5, 2.5))
    store.close()
    again = Store(tmp_path / "s.sqlite", CONTRACT)
    assert again.totals() == totals
    assert again.day() == DayState("2026-01-01", 1.5, 2.5)
    assert again.last_fill_ns() == 5
    again.close()
    with pytest.raises(ConfigError, match="keeps the fills of"):
        Store(tmp_path / "s.sqlite", ContractTable().by_id("ETHUSDT-LINEAR.BYBIT"))


def test_a_recovery_that_breaks_off_keeps_nothing_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite", CONTRACT)
    broken = msgspec.structs.replace(venue_fill("b"), lots="many")  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        store.recover([venue_fill("a"), broken])
    assert store.totals().fills == 0
    store.close()


# ── state folder ──────────────────────────────────────────────────────────────────────────────


def test_the_first_latch_stands_until_it_is_cleared_with_a_reason(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.latch("drawdown", "lost 5", "trader")
    state.latch("operator", "later", "cmm halt")
    found = state.latched()
    assert found is not None
    assert found.reason == "drawdown"
    assert state.clear("looked into it") is not None
    assert state.latched() is None
    kept = json.loads((state.path / "cleared.jsonl").read_text())
    assert (kept["because"], kept["latch"]["reason"]) == ("looked into it", "drawdown")
    (state.path / "latch.json").write_text("{")
    damaged = state.latched()
    assert damaged is not None
    assert damaged.reason == "unreadable"


def test_one_trader_a_state_folder(tmp_path: Path) -> None:
    one, two = StateFolder(tmp_path), StateFolder(tmp_path)
    assert not two.is_taken()
    one.take()
    assert two.is_taken()
    with pytest.raises(Exception, match="another trader runs"):
        two.take()
    one.release()
    two.take()
    two.release()


def test_a_beat_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert state.heartbeat() is None
    state.beat(Heartbeat(1, 2, 3, "trading", orders=["a"]))
    assert state.heartbeat() == Heartbeat(1, 2, 3, "trading", orders=["a"])
    (tmp_path / "heartbeat.json").write_text('{"pid":1')
    assert state.heartbeat() is None


def test_alarms_go_to_the_log_even_where_nobody_listens(tmp_path: Path) -> None:
    alarms = Alarms(tmp_path / "alarms.jsonl", "http://127.0.0.1:9/", "test")
    alarms.raise_("halt", "why")
    alarms.close(10.0)
    (line,) = (tmp_path / "alarms.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == "why"


# ── refusals ──────────────────────────────────────────────────────────────────────────────────


def cmm(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "live.armed is false"),
        (["live.armed=true"], "set live.artifact_hash"),
        (["live.armed=true", "live.artifact_hash=beef"], "live.artifact_hash is beef"),
        (["live.armed=true"], "guard.money.loss_budget"),
        (["limits.max_messages_per_s=21"], "must not exceed"),
        (["live.armed=true", "live.max_artifact_age_days=30"], "artifact age"),
        (["model.recalibrate.enabled=true"], "recalibration"),
    ],
)
def test_live_refuses_and_says_why(
    settings: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CMM_BYBIT_KEY", "k")
    monkeypatch.setenv("CMM_BYBIT_SECRET", "s")
    options = [part for setting in settings for part in ("--set", setting)]
    code, text = cmm("live", "--instrument", BTC, "--base-url", "http://127.0.0.1:9", *options)
    assert code == 2
    assert words in " ".join(text.split())


def test_live_needs_keys_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CMM_BYBIT_KEY", raising=False)
    code, text = cmm("live", "--instrument", BTC)
    assert (code, "CMM_BYBIT_KEY: not set in the environment" in text) == (2, True)


def test_a_latch_forbids_the_start_and_halt_clears_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CMM_BYBIT_KEY", "k")
    monkeypatch.setenv("CMM_BYBIT_SECRET", "s")
    StateFolder(tmp_path / "state").latch("loss_budget", "lost 7", "trader")
    code, text = cmm("live", "--instrument", BTC)
    assert code == 3
    assert "loss_budget: lost 7" in text
    code, text = cmm("halt", "--clear")
    assert (code, "say with --reason" in text) == (2, True)
    code, text = cmm("halt", "--clear", "--reason", "found the fault")
    assert (code, "cleared loss_budget" in text) == (0, True)
    assert cmm("live", "--instrument", BTC)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["paper"], "either --replay INSTRUMENT or --venue NAME"),
        (["paper", "--venue", "nyse", "--instrument", BTC], "no adapter; known are binance, bybit, okx"),
        (["paper", "--venue", "okx", "--instrument", BTC], "venue okx trades instruments named ….OKX"),
        (["paper", "--venue", "bybit"], "name the instrument"),
        (["live", "--instrument", BTC, "--venue", "okx"], "tested at bybit only"),
        (["live", "--instrument", "X.BYBIT"], "unknown instrument X.BYBIT"),
        (["halt"], "name the instrument"),
        (["replay-journal", "nowhere.jsonl", "--verify"], "nowhere.jsonl: cannot be read"),
        (["drill", "--faults", "rain"], "--faults rain: unknown"),
    ],
)
def test_errors_name_their_remedy(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = cmm(*arguments)
    assert code == 2
    assert words in " ".join(text.split())

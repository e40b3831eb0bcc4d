"""Live trading with the true adapter against the loopback exchange; store, latch and refusals on their own."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.config import Config
from engine.drill import campaign as drill
from engine.drill.attempt import KEY, SECRET, Try
from engine.live.records.store import DayState, Store
from engine.live.safety.alarms import Alarms
from engine.live.safety.state import Heartbeat, StateFolder
from market.contracts import ContractTable
from market.errors import ConfigError
from market.events import ASK, BID
from venues.live.account_client import VenueFill

BTC = "BTCUSDT-LINEAR.BYBIT"
CONTRACT = ContractTable().by_id(BTC)

# ── the drill, shortened: one try of what differs most ────────────────────────────────────────


@pytest.mark.xdist_group("live")
@pytest.mark.parametrize(
    "fault",
    ["sigterm", "public_half_open", "partial_fill_storm", "private_half_open", "kill_and_restart", "loss_budget",
     "halt_running", "hung_trader", "kill_both", "failing_model", "disk_full", "second_trader", "kill_while_promoting"],
)  # fmt: skip
def test_drill(fault: str, tmp_path: Path) -> None:
    (result,) = asyncio.run(drill.drill(tmp_path, [fault], 1, 1, 7, Config(), lambda *_: None))
    assert result.why == []
    assert result.survived
    assert result.safe_s < 20


@pytest.mark.xdist_group("live")
def test_a_watchdog_as_a_service_outlives_traders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes as systemd or compose run them: each may die and come back, and nothing is left resting."""
    quick = tmp_path / "artifact"
    quick_hash = drill.quick_artifact(quick)
    monkeypatch.setenv("CMM_BYBIT_KEY", KEY)
    monkeypatch.setenv("CMM_BYBIT_SECRET", SECRET)

    async def work() -> None:
        base = Config()
        base = msgspec.structs.replace(base, live=msgspec.structs.replace(base.live, watchdog="service"))
        t = Try(tmp_path / "try", 7, quick, quick_hash, base)
        engine = t.exchange.engine

        async def watch() -> asyncio.subprocess.Process:
            with (tmp_path / "watchdog.log").open("ab") as log:
                return await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "engine.cli", "watchdog", "--instrument", BTC,
                    "--config", str(t.folder / "config.json"), stdout=log, stderr=log,
                )  # fmt: skip

        def nothing_rests() -> bool:
            return engine.resting(BID) == engine.resting(ASK) == 0

        await t.open()
        watchdog = await watch()
        try:
            await t.start()
            assert await t.quoting(), t.tail()
            assert t.trader is not None
            t.trader.kill()  # the watchdog stays, cleans up …
            await t.trader.wait()
            assert await t.until(nothing_rests, 10.0)
            await t.start()  # … and watches the next one
            assert await t.quoting(), t.tail()
            watchdog.kill()  # without it the trader stops, for a supervisor to start again
            await watchdog.wait()
            assert await asyncio.wait_for(t.trader.wait(), 20) == 4
            assert nothing_rests()
            watchdog = await watch()
            await t.start()
            assert await t.quoting(), t.tail()
            for process in (watchdog, t.trader):  # both at once, and only the watchdog comes back
                process.kill()
                await process.wait()
            watchdog = await watch()
            assert await t.until(nothing_rests, 20.0)
            alarms = [json.loads(row)["kind"] for row in (t.folder / "state" / "alarms.jsonl").read_text().splitlines()]
            assert await t.until(
                lambda: (t.folder / "state" / "alarms.jsonl").read_text().count('"safe"') == 2, 10.0
            ), alarms
            watchdog.terminate()
            assert await asyncio.wait_for(watchdog.wait(), 10) == 0
        finally:
            if watchdog.returncode is None:
                watchdog.kill()
            await t.close()

    asyncio.run(work())


@pytest.mark.xdist_group("live")
def test_paper_on_public_data_of_an_exchange(tmp_path: Path) -> None:
    """Both commands as a user runs them: `cmm exchange`, and `cmm paper` on its public streams."""
    quick = tmp_path / "artifact"
    drill.quick_artifact(quick)
    log = tmp_path / "exchange.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "exchange", "--speed", "4"], stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + 30
        while "http://" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        url = log.read_text().split()[-1]
        settings = [f"model.artifact={quick}", "fees.scenario=zero", "strategy.cmm.spread_share=0.2"]
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli", "paper", "--venue", "bybit", "--instrument", BTC, "--base-url", url,
             "--minutes", "0.15", "--json", *(part for s in settings for part in ("--set", s))],
            cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout.splitlines()[-1])
        assert summary["total"]["order_actions"] > 10
        (journal,) = tmp_path.glob("runs/*/journal.jsonl")
        code, text = cmm("replay-journal", str(journal), "--verify", "--json")
        assert (code, json.loads(text)["differences"]) == (0, [])
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
    assert log.read_text().rstrip().endswith("closed")


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

"""`cmm compare` of a live trader at the loopback exchange, whose queue is known and which is further away than assumed."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.config import Config, override
from engine.drill import campaign as drill
from tests.traders import HUNG_S, PatientTry
from venues.loopback import market

_FILLS = 10
_DELAY_S = 0.3


class FarTry(PatientTry):
    """A brisk market at an exchange that commands reach late; what the trader sees is recorded."""

    async def _feed(self) -> None:
        async for event in market.paced(market.simulated(self.seed, 3), 6.0):
            await self.exchange.feed(event)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a trader that had so many fills."""
    folder = tmp_path_factory.mktemp("live")
    quick_hash = drill.quick_artifact(folder / "artifact")
    base = override(Config(), {"live.record": True, "runs.path": str(folder / "runs")})

    async def trade() -> Path:
        far = FarTry(folder / "try", 7, folder / "artifact", quick_hash, base)
        far.config = override(
            far.config, {"guard.money.loss_budget": 1000, "guard.money.max_drawdown": 1000, "guard.fills.fills": None}
        )
        far.exchange.faults.command_delay_s = _DELAY_S
        await far.open()
        try:
            await far.start()
            assert await far.quoting(), far.tail()
            executions = far.exchange.engine.account.executions
            assert await far.until(lambda: len(executions) >= _FILLS or far.has_ended(), HUNG_S)
            assert far.trader is not None
            far.trader.terminate()
            assert await asyncio.wait_for(far.trader.wait(), HUNG_S) == 0, far.tail()
        finally:
            await far.close()
        return far.state.path

    return asyncio.run(trade())


def command(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["compare", *words])
    return done.exit_code, done.stdout, done.stderr


def compared(state: Path, *settings: str) -> dict[str, Any]:
    places = ["--set", f"runs.path={state.parent.parent / 'runs'}"]
    code, out, err = command(str(state), "--json", *places, *(word for one in settings for word in ("--set", one)))
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert sum(found["split"].values()) == pytest.approx(found["pnl"]["difference"], abs=1e-9)
    return found


@pytest.fixture(scope="module")
def found(state: Path) -> dict[str, Any]:
    return compared(state)


def test_the_way_to_the_exchange_is_measured_and_named(found: dict[str, Any]) -> None:
    (day,) = found["days"]
    assert found["fills"]["run"] >= _FILLS
    assert day["latency"]["measured_ms"]["p50"] >= 1e3 * _DELAY_S
    assert day["latency"]["assumed_ms"] == "2.1"
    assert "latency" in found["causes"]
    assert "fees" not in found["causes"]  # the exchange takes what the contract table says
    assert day["data"]["seen"] == day["data"]["updates"] > 100
    assert any("own recording" in note for note in found["notes"])


def test_other_assumptions_are_named(state: Path, found: dict[str, Any]) -> None:
    """At this exchange nobody who leaves moves us up, and a maker pays."""
    assert found["split"]["fees"] == pytest.approx(0.0, abs=1e-6)  # an account rounds
    other = compared(state, "venue.queue.model=optimistic", "fees.scenario=zero")
    assert {"queue", "fees"} <= set(other["causes"])
    assert other["split"]["fees"] < 0.0


def test_a_journal_of_the_run_stands_for_it(state: Path, found: dict[str, Any]) -> None:
    (journal,) = (state / "journal").glob("*.jsonl")
    again = compared(journal, f"runs.path={state.parent.parent / 'runs'}")
    assert {key: again[key] for key in ("split", "fills", "days")} == {
        key: found[key] for key in ("split", "fills", "days")
    }


def test_without_a_recording_nothing_is_made_up(state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "state"
    shutil.copytree(state, copy)
    shutil.rmtree(copy / "recording")
    code, out, err = command(str(copy), "--set", f"runs.path={tmp_path}", "--set", f"data.path={tmp_path / 'none'}")
    assert (code, out) == (2, "")
    assert "nobody recorded BTCUSDT-LINEAR.BYBIT" in err
    assert "live.record: true" in err
    shutil.rmtree(copy / "orders")
    code, _, err = command(str(copy), "--set", f"runs.path={tmp_path}")
    assert (code, "live.journal" in err) == (2, True)
    (copy / "store.sqlite").write_bytes(b"no store")
    shutil.copytree(state / "orders", copy / "orders")
    code, _, err = command(str(copy), "--set", f"runs.path={tmp_path}")
    assert (code, "the store of fills cannot be read" in err) == (2, True)

"""A quoter of the user's own: both lanes, compiled or not, paper, journals; and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from engine.assembly import quoter_kind
from engine.backtest.episode import Episode
from engine.backtest.lanes import run_day
from engine.backtest.run_record import fills_sha256
from engine.config import SHIPPED, Config, override
from engine.live.records.journal import read, verify
from engine.live.trading.live_run import choose
from engine.live.trading.paper_run import replay_day
from engine.plan import Plan
from engine.recordings.simulation import simulate_recording
from market.errors import ConfigError
from strategies.own_quoter import OwnQuoter, QuoterError
from strategies.values import Market
from tests.test_cli import cmm
from venues.recordings.catalog import Catalog, Day
from venues.simulation.queues import QueueConfig

QUEUE = QueueConfig(model="pessimistic")
MARKET = Market(100, 102, 1.5, 5.0, 0.25, 1)
SOURCE = """
import math

calls = 0

def best(market, forecast, inventory, limit):
    assert forecast is None
    mid = 0.5 * (market.bid_ticks + market.ask_ticks)
    return mid - 1.0, mid + 1.0

def slow(market, forecast, inventory, limit):
    return tuple({"bid": market.mid_ticks - 1.0, "ask": market.mid_ticks + 1.0}.values())

class Offset:
    def __init__(self):
        self.offset = 1
    def best(self, market, forecast, inventory, limit):
        mid = 0.5 * (market.bid_ticks + market.ask_ticks)
        return mid - self.offset, mid + self.offset

class Counting:
    def __init__(self):
        self.calls = 0
    def best(self, market, forecast, inventory, limit):
        global calls
        calls += 1
        self.calls += 1
        assert calls == self.calls
        return market.mid_ticks - 1, market.mid_ticks + 1

class Follows:
    needs_forecast = True
    @staticmethod
    def best(market, forecast, inventory, limit):
        mid = 0.5 * (market.bid_ticks + market.ask_ticks) + forecast.mid_change_ticks
        return mid - 0.5, mid + 0.5

class Follows2(Follows):
    def best(self, market, forecast, inventory, limit):
        where = market.mid_ticks + forecast.mid_change_ticks
        return where - 0.5, where + 0.5

def late(market, forecast, inventory, limit):
    if inventory != 0:
        raise ValueError("no\\n  inventory")
    return market.bid_ticks, market.ask_ticks

def late_slow(market, forecast, inventory, limit):
    {}.setdefault("", market.mid_ticks)
    if inventory != 0:
        raise ValueError("no inventory")
    return market.bid_ticks, market.ask_ticks

def nan(market, forecast, inventory, limit):
    return math.nan, 1.0

def huge(market, forecast, inventory, limit):
    return -1e300, 1.0

def three(market, forecast, inventory, limit):
    return 1.0, 2.0, 3.0

def nothing(market, forecast, inventory, limit):
    pass

def text(market, forecast, inventory, limit):
    return "1", "2"

def narrow(market):
    return 1, 2

class Bare:
    pass

class Needy:
    def __init__(self, offset):
        self.offset = offset
    def best(self, market, forecast, inventory, limit):
        return 1, 2

class Unsure(Offset):
    needs_forecast = "yes"
"""
LINE = SOURCE.splitlines().index('        raise ValueError("no inventory")') + 1
COMPILED = {"best": True, "slow": False, "Offset": True, "Counting": False}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def traded(sim: tuple[Catalog, Day], quoter: str, engine: str = "fast") -> Episode:
    config = override(
        Config(), {"strategy.quoter": quoter, "backtest.engine": engine, "strategy.offset.offset_ticks": 1}
    )
    kind = quoter_kind(quoter)
    plan = Plan(config, quoter, SHIPPED if kind.needs_forecast else None, None, QUEUE, quoter_sha256=kind.sha256)
    return run_day(*sim, plan)


@pytest.mark.parametrize(("name", "is_compiled"), COMPILED.items())
def test_a_copy_of_foic_fills_as_foic_in_both_lanes(
    name: str, is_compiled: bool, file: Path, brief: tuple[Catalog, Day]
) -> None:
    quoter = f"{file}:{name}"
    assert OwnQuoter(quoter).is_compiled == is_compiled
    theirs, ours = traded(brief, "foic"), traded(brief, quoter, "both")
    assert len(theirs.recorder.fills) > 5
    assert ours.recorder.fills == theirs.recorder.fills
    assert ours.recorder.actions == theirs.recorder.actions


def test_forecasts_come_alike_compiled_or_not(file: Path, brief: tuple[Catalog, Day]) -> None:
    fast, slow = (OwnQuoter(f"{file}:{name}") for name in ("Follows", "Follows2"))
    assert (fast.is_compiled, slow.is_compiled) == (True, False)
    assert "uncompiled (numba: " in slow.note
    one, other = (traded(brief, quoter.named, "both") for quoter in (fast, slow))
    assert len(one.recorder.fills) > 5
    assert fills_sha256(one.recorder) == fills_sha256(other.recorder)
    assert one.recorder.actions == other.recorder.actions


def test_live_and_paper_choose_the_artifact_where_it_is_needed(file: Path) -> None:
    plans = [choose(override(Config(), {"strategy.quoter": f"{file}:{name}"})) for name in ("best", "Follows")]
    assert [plan.artifact for plan in plans] == [None, SHIPPED]
    assert plans[0].quoter_sha256 == plans[1].quoter_sha256 == OwnQuoter(f"{file}:best").sha256


def test_a_journal_is_replayed_with_the_file_that_it_was_made_with(
    file: Path, brief: tuple[Catalog, Day], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = override(Config(), {"strategy.quoter": "mine.py:best"})
    plan = msgspec.structs.replace(choose(config), queue=QUEUE)
    journal = tmp_path / "journal.jsonl"
    there, here = traded(brief, "mine.py:best"), replay_day(*brief, plan, 0.0, journal)
    assert here.recorder.fills == there.recorder.fills
    header, _ = read(journal)
    assert (header.quoter, header.quoter_sha256) == (f"{file}:best", plan.quoter_sha256)
    monkeypatch.chdir("/")
    verdict = verify(journal)
    assert verdict.decisions > 100
    assert not verdict.differences
    with pytest.raises(ConfigError, match=r"made with .*mine.py:best; name a quoter's file"):
        verify(journal, quoter="foic")
    with pytest.raises(QuoterError, match=r"FILE\.py:NAME"):
        verify(journal, quoter="mine")
    moved = file.rename(tmp_path / "moved.py")
    with pytest.raises(QuoterError, match="cannot be read"):
        verify(journal)
    assert not verify(journal, quoter=f"{moved}:best").differences
    moved.write_text(SOURCE + "\n")
    with pytest.raises(QuoterError, match="the file has changed"):
        verify(journal, quoter=f"{moved}:best")


@pytest.mark.parametrize("engine", ["fast", "nautilus"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("late", "mine.py:late.*: best raised ValueError: no inventory at Market.*; correct it"),
        ("late_slow", f"mine.py:late_slow, line {LINE}: best raised ValueError: no inventory at Market.*; correct it"),
        ("nan", r"mine.py:nan: best gave \(nan, 1.0\).* return two finite numbers"),
        ("three", "mine.py:three: best gave .*1.0, 2.0, 3.0.* return two finite numbers"),
        ("nothing", "mine.py:nothing: best gave None"),
    ],
)
def test_a_failing_quoter_ends_the_day(
    name: str, says: str, engine: str, file: Path, brief: tuple[Catalog, Day]
) -> None:
    with pytest.raises(ConfigError, match=says) as found:
        traded(brief, f"{file}:{name}", engine)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["huge", "text"])
def test_what_is_no_price(name: str, file: Path) -> None:
    with pytest.raises(QuoterError, match="return two finite numbers"):
        OwnQuoter(f"{file}:{name}").best(MARKET, None, 0, 5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "there is no absent in it; it has best, slow, Offset"),
        ("math", "math is neither a function nor a class"),
        ("narrow", r"best takes \(market\); it is called as best\(market, forecast, inventory, limit\)"),
        ("Bare", "no method best"),
        ("Needy", "cannot be made without arguments .*defaults"),
        ("Unsure", "needs_forecast is 'yes'; set it to True or False"),
    ],
)
def test_what_is_no_quoter(name: str, says: str, file: Path) -> None:
    with pytest.raises(QuoterError, match=f"mine.py:{name}: .*{says}"):
        OwnQuoter(f"{file}:{name}")


@pytest.mark.parametrize(
    ("source", "says"),
    [("def best(:", "line 1: SyntaxError"), ("\n1 / 0", "line 2: ZeroDivisionError"), ("import no_such", "no_such")],
)
def test_a_file_that_cannot_be_loaded(source: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(QuoterError, match=f"cannot be loaded.*{says}"):
        OwnQuoter(f"{tmp_path}/bad.py:best")


def test_the_examples_of_the_docs_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    page = (Path(__file__).parents[1] / "docs" / "quoters.md").read_text()
    (tmp_path / "my_quoter.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    command = re.search(r"```\ncmm (backtest .*)\n```", page)
    assert command is not None
    alone = ("--set", "backtest.sensitivity=none", "--json")
    simulate_recording(Config(), 3.0, seed=4)
    for arguments in (command[1].split(), [*command[1].split()[:-1], "my_quoter.py:MyQuoter"]):
        result = cmm(*arguments, *alone)
        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout)
        assert summary["quoter"] == arguments[-1]
        assert summary["quoter_sha256"] == OwnQuoter(arguments[-1]).sha256
        assert any("runs compiled" in note for note in summary["notes"])
        assert summary["total"]["order_actions"] > 0
    kept = sorted(Path("runs").iterdir())
    refused = cmm("backtest", "--instrument", "QR.SIM", "--set", "strategy.quoter=my_quoter.py:nobody", *alone)
    assert refused.exit_code == 2
    assert refused.stderr.strip().splitlines()[-1] == (
        "error: my_quoter.py:nobody: there is no nobody in it; it has best, MyQuoter"
    )
    assert sorted(Path("runs").iterdir()) == kept

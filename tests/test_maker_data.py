"""Market data as the maker meets them: what it does about a book that cannot be quoted on, and how it heals."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import Config, MonitorConfig
from engine.live.safety.data_alarm import DataAlarm
from engine.live.telemetry import Telemetry, about_of
from engine.monitor.watched import Watched
from market.events import ASK, BID, Level
from strategies.guard import DataGuardConfig
from tests.driven import ASKS, BIDS, CONTRACT, Market, S

CROSSED: list[Level] = [(BID, 100_010, 5)]
UNCROSSED: list[Level] = [(BID, 100_010, 0)]
NO_ASKS: list[Level] = [(ASK, 100_002, 0), (ASK, 100_003, 0)]
FAR_BID: list[Level] = [(BID, 99_900, 9)]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Nautilus wants a strategy dropped on the thread that made it."""
    yield
    gc.collect()


@pytest.mark.parametrize(
    ("broken", "clear", "more", "whole", "problem"),
    [
        (CROSSED, False, FAR_BID, UNCROSSED, "crossed"),
        ([(BID, 100_002, 5)], False, FAR_BID, [(BID, 100_002, 0)], "crossed"),
        (NO_ASKS, False, FAR_BID, ASKS, "one_sided"),
        (ASKS, True, [(ASK, 100_100, 9)], BIDS, "one_sided"),
        ([], True, [], [*BIDS, *ASKS], "empty"),
    ],
    ids=["crossed", "locked", "no asks", "no bids", "empty"],
)
def test_a_book_that_is_not_sound_pulls_the_quotes_under_its_name_and_heals_after_a_while(
    broken: list[Level],
    clear: bool,
    more: list[Level],
    whole: list[Level],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market = Market(monkeypatch, DataGuardConfig(healthy_s=1.0))
    m = market.maker
    assert (m.problem, market.resting() > 0) == ("", True)
    placed = len(market.orders)
    market.show(broken, clear)
    assert (m.problem, market.resting()) == (problem, 0)
    assert m.mid_ticks is None
    market.show(more, clear=problem == "empty")
    assert m.problem == problem
    assert (m.counts[f"pulled_{problem}"], m.counts[f"data_{problem}"]) == (1, 1)
    market.show(whole)
    assert (m.problem, m.mid_ticks, market.resting()) == ("recovering", 100_001.0, 0)
    market.rest(0.9)
    assert (m.problem, len(market.orders)) == ("recovering", placed)
    market.rest(0.2)
    assert m.problem == ""
    assert market.resting() > 0
    assert m.counts["pulled_not_ready"] == 0


def test_a_book_that_flickers_is_not_quoted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, DataGuardConfig(healthy_s=1.0))
    placed, resting = len(market.orders), market.resting()
    for _ in range(30):
        market.show(CROSSED)
        market.show(UNCROSSED)
    assert (len(market.orders), len(market.cancelled)) == (placed, resting)
    assert market.maker.counts["pulled_crossed"] == 1
    assert market.maker.counts["data_crossed"] == 30
    market.rest(1.1)
    assert (market.maker.problem, market.resting()) == ("", resting)


def test_one_early_stamp_does_not_end_the_quoting_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, DataGuardConfig(healthy_s=1.0, max_lag_ms=100, lag_window_s=5))
    market.show([(BID, 99_900, 7)], lag=-3 * S)
    assert market.resting() > 0
    market.rest(4.0)
    assert (market.maker.problem, market.resting()) == ("lagging", 0)
    assert (market.maker.counts["pulled_lagging"], market.maker.counts["data_lagging"]) == (1, 1)
    market.rest(3.0)
    assert (market.maker.problem, market.resting() > 0) == ("", True)
    market.rest(1.0, lag=S)  # and a true one is still caught
    assert (market.maker.problem, market.resting()) == ("lagging", 0)
    market.rest(1.2)
    assert (market.maker.problem, market.resting() > 0) == ("", True)


def test_silence_pulls_the_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, DataGuardConfig(stale_s=2.0, healthy_s=0.5))
    market.now += 3 * S
    market.maker.check()
    assert (market.maker.problem, market.resting(), market.maker.counts["pulled_stale"]) == ("stale", 0, 1)
    market.rest(0.7)
    assert (market.maker.problem, market.resting() > 0) == ("", True)


@pytest.mark.parametrize("is_live", [True, False])
def test_a_book_that_stays_crossed_is_asked_for_anew(is_live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level that crosses may be one whose removal never came; a recording cannot be asked."""
    market = Market(monkeypatch, is_live=is_live)
    market.show(CROSSED)
    market.rest(1.5)
    assert market.resubscribed == 0
    market.rest(2.0)
    assert market.resubscribed == is_live


@pytest.mark.parametrize("sequence", ["contiguous", "rising"])
def test_a_gap_pulls_the_quotes_until_the_book_is_sent_whole(sequence: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, DataGuardConfig(sequence=sequence, healthy_s=0.5))
    market.show([*BIDS, *ASKS], clear=True, sequence=10)
    market.show([(BID, 99_900, 3)], sequence=16 if sequence == "contiguous" else 6)
    assert (market.maker.problem, market.resting(), market.resubscribed) == ("gap", 0, 1)
    market.show([(BID, 99_900, 4)], sequence=20)
    assert market.maker.problem == "gap"
    market.show([*BIDS, *ASKS], clear=True, sequence=21)
    for i in range(6):
        market.show([(BID, 99_900, 1 + i)], sequence=22 + i)
    assert (market.maker.problem, market.resting() > 0) == ("", True)


# ── who hears of it ───────────────────────────────────────────────────────────────────────────


def test_the_monitor_says_why_nothing_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    market = Market(monkeypatch, DataGuardConfig())
    config = Config(monitor=MonitorConfig(path=str(tmp_path)))
    telemetry = Telemetry(config, about_of(config, CONTRACT, None, "live", "foic", None), CONTRACT, None)
    telemetry.bind(market.maker, None)
    market.show(NO_ASKS)
    frame = telemetry.frame("trading")
    watched = Watched(frame)
    assert (watched.why, frame.problem, frame.counts["pulled_one_sided"]) == ("one_sided", "one_sided", 1)
    market.show(ASKS)
    assert telemetry.frame("trading").problem == "recovering"


def test_an_alarm_an_episode_and_one_that_all_is_well() -> None:
    told: list[tuple[str, str]] = []
    alarm = DataAlarm("X", 1.0, lambda kind, text: told.append((kind, text)))

    def look(problems: list[str], start_s: float) -> None:
        for i, problem in enumerate(problems):
            now = round((start_s + 0.25 * i) * S)
            alarm.look(problem, now, now + 3600 * S)

    look(["", "crossed", "recovering", ""], 10.0)
    assert told == []  # it did not last
    look(["crossed", "recovering", "lagging", *["recovering", "crossed"] * 10, ""], 20.0)
    assert told == [
        ("market_data", "X: no quotes since 01:00:20.000 UTC, for 1.0 s: crossed, lagging"),
        ("market_data_well", "X: market data are well again after 5.8 s: crossed, lagging"),
    ]
    look(["", *["stale"] * 9], 40.0)
    assert [kind for kind, _ in told[2:]] == ["market_data"]
    assert told[2][1].endswith(": stale")

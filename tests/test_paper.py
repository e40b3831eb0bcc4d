"""Paper trading: a replayed recording through a live node against the backtest of the same day."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.backtest.nautilus_lane import run_day
from engine.config import SHIPPED, Config, VenueConfig
from engine.live.records.journal import read, verify
from engine.live.trading.paper_run import replay_day
from engine.plan import Plan
from market.contracts import ContractTable
from market.errors import ConfigError
from market.events import ASK, BID, BookUpdate, Event
from market.level_book import LevelBook
from models.ensemble.recalibrate_config import RecalibrateConfig
from tests.conftest import ctp_file, ctp_row
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events, import_recording
from venues.recordings.loaders import recordings
from venues.recordings.simulator import simulate
from venues.simulation.latency import DelayConfig, LatencyConfig
from venues.simulation.queues import QueueConfig


def config(latency_ms: float = 2.0, **parts: object) -> Config:
    delays = LatencyConfig(decision=DelayConfig(ms=0.1), order=DelayConfig(ms=latency_ms))
    return msgspec.structs.replace(Config(), venue=VenueConfig(latency=delays), **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("queue", ["pessimistic", "power"])
def test_as_fast_as_it_goes_paper_is_the_backtest(brief: tuple[Catalog, Day], tmp_path: Path, queue: str) -> None:
    """No clock stands between them: forecasts to the bit, the same fills, the same money."""
    plan = Plan(config(), "cmm", SHIPPED, None, QueueConfig(model=queue))  # type: ignore[arg-type]
    there = run_day(*brief, plan)
    here = replay_day(*brief, plan, 0.0, tmp_path / "journal.jsonl")
    np.testing.assert_array_equal(here.recorder.forecasts, there.recorder.forecasts)
    assert here.recorder.actions == there.recorder.actions
    assert len(there.recorder.fills) > 10
    assert here.recorder.fills == there.recorder.fills
    assert here.venue_net == pytest.approx(there.venue_net, abs=0.01 * (1 + len(there.recorder.fills)))
    here.check_identity()
    verdict = verify(tmp_path / "journal.jsonl")
    assert (verdict.differences, verdict.torn) == ([], False)
    assert verdict.decisions == sum(np.isfinite(here.recorder.forecasts[:, 0]))


def test_on_a_snapshot_feed_too(tmp_path: Path) -> None:
    """Cancels that arrive within an interval wait for its end, and whoever decides then does not know of them yet."""
    catalog = Catalog(tmp_path / "data", ContractTable())
    rng, rows, price, volume = np.random.default_rng(4), [], 26_150, 100
    for i in range(700):
        price += int(rng.integers(-2, 3))
        volume += int(rng.integers(1, 9))
        seconds, millis = divmod(i * 500, 1000)
        clock = f"09:{31 + seconds // 60:02d}:{seconds % 60:02d}"
        last = 0.2 * (price + int(rng.integers(-1, 2)))
        sizes = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        rows.append(
            ctp_row(clock, millis, round(last, 1), volume, volume * 300 * 0.2 * price, round(0.2 * (price - 1), 1),
                    round(0.2 * (price + 1), 1), sizes)
        )  # fmt: skip
    (recording,) = recordings([ctp_file(tmp_path / "CFFEX.IF2101.csv", rows)], None)
    day = import_recording(catalog, recording, lambda *_: None, False).days[0]
    plan = Plan(config(), "foic", None, None, QueueConfig(model="pessimistic"))
    there, here = run_day(catalog, day, plan), replay_day(catalog, day, plan, 0.0, None)
    assert len(there.recorder.fills) > 10
    assert there.counts["limit_bound"] > 0
    assert here.recorder.fills == there.recorder.fills
    assert here.recorder.actions == there.recorder.actions


def spoiled(events: Iterable[Event]) -> Iterator[Event]:
    """A market whose book every ten seconds is crossed, flickers, or has no asks for a second and a half."""
    book, start, crossing = LevelBook(), 0, 0
    for event in events:
        start = start or event.ts_recv
        second, spell = (event.ts_recv - start) / 1e9 % 10.0, (event.ts_recv - start) // (10 * 10**9) % 3
        is_bad = second < 1.5 and event.ts_recv - start > 40 * 10**9
        if not isinstance(event, BookUpdate):
            yield event
            continue
        book.apply(event)
        asks = [level for level in book.levels() if level[0] == ASK]
        if spell == 2 and is_bad:
            rest = [level for level in event.levels if level[0] == BID]
            yield msgspec.structs.replace(event, levels=rest + [(ASK, price, 0) for _, price, _ in asks])
            continue
        is_crossed = is_bad and (spell == 0 or second % 0.2 < 0.1)
        add = []
        if is_crossed and not crossing:
            crossing = min(price for _, price, _ in asks) + 50
            add = [(BID, crossing, 3)]
        elif crossing and not is_crossed:
            add, crossing = [(BID, crossing, 0)], 0
        yield msgspec.structs.replace(event, levels=asks + event.levels + add)


def test_in_bad_market_data_too(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "data", ContractTable())
    start = int(dt.datetime(2020, 3, 2, 9, tzinfo=dt.UTC).timestamp()) * 10**9
    events = spoiled(simulate(11, 180.0, start))
    day = import_events(catalog, events, "sim", "simulator", [], Counter(), lambda *_: None).days[0]
    plan = Plan(config(), "cmm", SHIPPED, None, QueueConfig(model="pessimistic"))
    there, here = run_day(catalog, day, plan), replay_day(catalog, day, plan, 0.0, None)
    for name in ("pulled_crossed", "pulled_one_sided", "data_crossed", "data_one_sided"):
        assert here.counts[name] == there.counts[name] > 0
    assert there.counts["data_crossed"] > 2 * there.counts["pulled_crossed"]  # flickering: pulled once, and left so
    assert "pulled_not_ready" not in there.counts
    assert len(there.recorder.fills) > 10
    assert here.recorder.fills == there.recorder.fills
    assert here.recorder.actions == there.recorder.actions


def test_against_the_clock_nothing_differs(brief: tuple[Catalog, Day]) -> None:
    """At a hundred times the speed, and however late this machine is: what was sent has arrived before time goes on."""
    plan = Plan(config(), "cmm", SHIPPED, None, QueueConfig(model="pessimistic"))
    there, here = run_day(*brief, plan), replay_day(*brief, plan, 100.0, None)
    np.testing.assert_array_equal(here.recorder.forecasts, there.recorder.forecasts)
    assert len(there.recorder.fills) > 10
    assert here.recorder.fills == there.recorder.fills
    assert here.recorder.actions == there.recorder.actions
    here.check_identity()


def test_a_journal_that_was_touched_does_not_verify(brief: tuple[Catalog, Day], tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    replay_day(*brief, Plan(config(), "foic", None, None, QueueConfig(model="pessimistic")), 0.0, path)
    lines = path.read_bytes().splitlines(keepends=True)
    header, rows = read(path)
    chosen = next(i for i, line in enumerate(rows, start=1) if line is not None and line.actions)
    assert header.quoter == "foic"
    row = msgspec.json.decode(lines[chosen])
    row[11][0][2] += 1  # the price of an action
    touched = tmp_path / "touched.jsonl"
    touched.write_bytes(b"".join([*lines[:chosen], msgspec.json.encode(row) + b"\n", *lines[chosen + 1 :]]))
    (difference,) = verify(touched).differences
    assert (difference.line, difference.what[:7]) == (chosen + 1, "actions")
    row = msgspec.json.decode(lines[chosen])
    row[4 - 1][0] += 1  # the market it was made of
    touched.write_bytes(b"".join([*lines[:chosen], msgspec.json.encode(row) + b"\n"]))
    assert len(verify(touched).differences) == 1
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(b"".join(lines[:10]) + lines[10][:50])
    assert verify(torn).torn
    assert verify(torn).decisions == 9
    torn.write_bytes(b"".join(lines[:3]) + b"{\n" + lines[3])
    with pytest.raises(ConfigError, match="line 4: damaged"):
        verify(torn)
    torn.write_text("a,b\n")
    with pytest.raises(ConfigError, match="no journal"):
        verify(torn)


@pytest.mark.parametrize(
    ("changes", "queue", "words"),
    [
        ({}, "nautilus", "paper venue does not host it"),
        ({"model": msgspec.structs.replace(Config().model, recalibrate=RecalibrateConfig(enabled=True))}, "power", "recalibrate"),
    ],
)  # fmt: skip
def test_what_paper_cannot_do_is_refused(brief: tuple[Catalog, Day], changes: dict, queue: str, words: str) -> None:
    plan = Plan(config(**changes), "cmm", SHIPPED, None, QueueConfig(model=queue))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=words):
        replay_day(*brief, plan, 0.0, None)

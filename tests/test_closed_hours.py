"""Breaks and nights: metrics count session time, and a command sent before a silence fills at no stale price."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine.backtest.episode import Episode
from engine.backtest.metrics import MAP, Sharpe
from engine.backtest.run_recorder import Fill, RunRecorder
from engine.disposal import collected
from market.contracts import ContractTable
from market.events import ASK, BID, SELL, BookUpdate, Event, Trade
from market.sessions import SessionClock
from strategies.differ import DifferConfig
from strategies.guard import DataGuardConfig, GuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.values import Market
from strategies.wiring import MakerConfig
from tests.scripted import trade_script
from tests.test_venue import Fixed
from venues.recordings.catalog import Catalog
from venues.recordings.importer import import_events
from venues.simulation.queues import Pessimistic, QueueModel

S = 10**9


def ns(*when: int) -> int:
    return int(dt.datetime(*when, tzinfo=dt.UTC).timestamp()) * S  # type: ignore[arg-type,misc]


def episode(times: list[int], mids: list[float], fills: list[Fill]) -> Episode:
    recorder = RunRecorder()
    for ts, mid in zip(times, mids, strict=True):
        recorder.on_update(ts, Market(int(mid) - 1, int(mid) + 1, 1.0, 1.0, 0.0, 1), 0, None, None)
    recorder.fills += fills
    return Episode(dt.date(2021, 1, 4), ContractTable().by_id("IF2101.CFFEX"), recorder, 0.0, {}, 0.0)


NOON, HALF = ns(2021, 1, 4, 3, 29), ns(2021, 1, 4, 5, 1)  # a minute before the break and after it


def test_a_position_held_over_the_break_counts_its_session_time() -> None:
    times = [NOON, NOON + 60 * S, HALF - 60 * S, HALF]
    fill = Fill(NOON, BID, 26_000, 2, True, False, 0.0)
    away = Fill(HALF - 60 * S, ASK, 26_000, 2, True, False, 0.0)
    assert MAP().compute([episode(times, [26_000] * 4, [fill, away])]) == pytest.approx(1.0)  # not 2 · 91 of 92 minutes


def test_the_minutes_of_the_sharpe_are_those_of_sessions() -> None:
    fill = Fill(NOON, BID, 26_000, 1, True, False, 0.0)
    times = [NOON + i * 10 * S for i in range(7)] + [HALF - 60 * S + i * 10 * S for i in range(43)]
    mids = [26_000 + 10 * (i % 7) for i in range(len(times))]
    with_break = Sharpe().compute([episode(times, mids, [fill])])
    straight = [NOON - 3600 * S + i * 10 * S for i in range(7)] + [NOON - 3540 * S + i * 10 * S for i in range(43)]
    first = fill._replace(ts_ns=straight[0])
    assert with_break == pytest.approx(Sharpe().compute([episode(straight, mids, [first])]))


def test_a_sharpe_of_rounding_residue_is_undefined() -> None:
    times = [NOON - 3600 * S + i * 60 * S for i in range(40)]
    fills = [Fill(times[0], BID, 26_000, 3, True, False, 0.1), Fill(times[0], ASK, 26_000, 3, True, False, 0.2)]
    assert Sharpe().compute([episode(times, [26_000 + i / 3 for i in range(40)], fills)]) is None


def test_prices_beyond_32_bits_of_ticks_stand_on_the_tape() -> None:
    recorder = RunRecorder()
    recorder.on_update(1, Market(1 << 33, (1 << 33) + 2, 1.0, 1.0, 0.0, 1), 0, None, None)
    assert recorder.mids.tolist() == [float((1 << 33) + 1)]
    assert recorder.touch.dtype == np.int64


# ── NautilusTrader issue 5054: commands delayed over a midnight without data ──────────────────


MIDNIGHT = ns(2022, 2, 21, 16)  # of Shanghai, within silver's night session


@collected
def night_fills(
    folder: Path, events: list[Event], quoter: Fixed, model: QueueModel | None, order_ms: float
) -> list[Fill]:
    catalog = Catalog(folder / "data", ContractTable())
    day = import_events(catalog, events, "night", "simulator", [], Counter(), lambda *_: None).days[0]
    contract = catalog.contract(day)
    settings = MakerConfig(
        LadderConfig(levels=1, size_lots=5, size_step_lots=0),
        DifferConfig(),
        LimitsConfig(max_position_lots=100, max_order_lots=100),
        GuardConfig(data=DataGuardConfig(stale_s=1000.0)),  # it would pull the order in the silence
        0.0,
        SessionClock(contract.sessions).closes(day.start_ns, day.end_ns),
    )
    recorder = trade_script(catalog, day, quoter, settings, model, order_ms=order_ms)
    assert day.date == dt.date(2022, 2, 22)
    return recorder.fills


@pytest.mark.parametrize("own_queue", [True, False])
@pytest.mark.parametrize(("after", "filled"), [(4950, []), (4899, [(62, 4899, 5)])])
def test_an_order_sent_before_a_silent_midnight_meets_the_market_after_it(
    tmp_path: Path, own_queue: bool, after: int, filled: list[tuple[int, int, int]]
) -> None:
    """Sent at 23:59:59 with two seconds on its way, it arrives in a silence of a minute. What it fills on is what
    trades afterwards: where the market has moved away, nothing; where it has not, not before it has traded."""

    def book(ts: int, bid: int) -> BookUpdate:
        return BookUpdate("ag2206.SHFE", ts, ts, [(BID, bid, 50), (ASK, bid + 2, 50)], snapshot=True)

    start = MIDNIGHT - S
    events: list[Event] = [
        book(start - 2 * S, 4899),
        book(start, 4899),
        book(MIDNIGHT + 60 * S, after),
        Trade("ag2206.SHFE", MIDNIGHT + 62 * S, MIDNIGHT + 62 * S, after, 80, SELL),
        book(MIDNIGHT + 63 * S, after),
    ]
    fills = night_fills(tmp_path, events, Fixed(4899, 5100), Pessimistic() if own_queue else None, 2000.0)
    assert [((f.ts_ns - MIDNIGHT) // S, f.price_ticks, f.lots) for f in fills] == filled

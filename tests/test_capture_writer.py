"""Recorder and writer: what is recorded is on the disk, whatever becomes of the disk, the queue or either process."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.model import OrderBookDelta, OrderBookDeltas, TradeTick

from engine.config import CaptureConfig
from engine.live.records.recording import TraderRecording, make_recorder
from market.contracts import Contract, ContractTable
from market.events import ASK, BID, BUY, BookUpdate, Level, Trade
from market.level_book import LevelBook
from market.nautilus import DeltaMaker
from venues.recordings.capture.recorder import Recorder
from venues.recordings.capture.segment import segments
from venues.recordings.loaders import LOADERS, recordings
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms

TABLE = ContractTable()
CONTRACT = TABLE.by_id("BTCUSDT-LINEAR.BYBIT")
S = 10**9
HUNG_S = 60.0
T0 = 1_735_725_600 * S  # 2025-01-01 10:00 UTC
MIDNIGHT = T0 + 14 * 3600 * S
MAKE = DeltaMaker(CONTRACT)


def update(ts: int, *levels: Level, clear: bool = False) -> OrderBookDeltas:
    return OrderBookDeltas(MAKE.instrument_id, MAKE.deltas(levels, ts // 10**6, ts - 10**6, ts, clear))


def printed(ts: int, price: int = 101) -> TradeTick:
    return MAKE.trade(Trade(CONTRACT.id, ts - 10**6, ts, price, 2, BUY), ts // 10**6, ts)


FIRST = [(BID, 99, 5), (BID, 98, 9), (ASK, 101, 5), (ASK, 102, 9)]


@contextmanager
def recording(folder: Path, **settings: Any) -> Iterator[Recorder]:
    made = make_recorder(CaptureConfig(flush_s=0.05, min_free_mb=0, **settings), folder, [CONTRACT], "capture")
    try:
        yield made
    finally:
        made.close()


def until(recorder: Recorder, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HUNG_S
    while not holds():
        assert time.monotonic() < deadline
        recorder.pump()
        time.sleep(0.01)


def told(folder: Path) -> tuple[list[Any], Findings]:
    events, findings = [], Findings()
    for one in recordings([path for paths in segments(folder).values() for path in paths]):
        events += LOADERS["capture"].events(one, RecordingTerms(TABLE), findings)
    return events, findings


def last_book(events: list[Any]) -> LevelBook:
    book = LevelBook()
    for event in events:
        if isinstance(event, BookUpdate):
            book.apply(event)
    return book


def test_what_came_is_what_the_loader_tells(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.book(0, update(T0, *FIRST, clear=True))
        recorder.trade(0, printed(T0 + S))
        recorder.book(0, update(T0 + 2 * S, (BID, 99, 0), (ASK, 101, 7)))
    events, findings = told(tmp_path)
    assert events == [
        BookUpdate(CONTRACT.id, T0 - 10**6, T0, FIRST, depth=50),
        Trade(CONTRACT.id, T0 + S - 10**6, T0 + S, 101, 2, BUY),
        BookUpdate(CONTRACT.id, T0 + 2 * S - 10**6, T0 + 2 * S, [(BID, 99, 0), (ASK, 101, 7)], depth=50),
    ]
    assert not findings.total()
    assert (recorder.failure, recorder.lost) == ("", 0)


def test_days_roll_and_large_segments_are_followed_by_others_that_stand_alone(tmp_path: Path) -> None:
    with recording(tmp_path, segment_mb=0.002, segment_minutes=600) as recorder:
        recorder.book(0, update(MIDNIGHT - 400 * S, *FIRST, clear=True))
        for i in range(1, 800):
            recorder.book(0, update(MIDNIGHT + (i - 400) * S, (BID, 90 - i % 7, i), (ASK, 110 + i % 11, i)))
            if i % 50 == 0:
                recorder.pump()
                time.sleep(0.06)
    days = segments(tmp_path)
    assert [day for _, day in days] == ["2025-01-01", "2025-01-02"]
    assert all(len(paths) > 1 for paths in days.values())
    events, findings = told(tmp_path)
    assert not findings.total()
    assert len([e for e in events if isinstance(e, BookUpdate)]) == 800 + 1  # the second day begins with the book
    one_by_one = LevelBook()
    [alone] = recordings([days[CONTRACT.id, "2025-01-02"][-1]])
    for event in LOADERS["capture"].events(alone, RecordingTerms(TABLE), Findings()):
        one_by_one.apply(event)  # type: ignore[arg-type]
    assert list(one_by_one.levels()) == list(last_book(events).levels())


def test_a_clock_that_was_wrong_for_a_while_costs_no_day(tmp_path: Path) -> None:
    """Set forward by two hours, and back again: what is recorded after that is told, and that it happened."""
    with recording(tmp_path) as recorder:
        recorder.book(0, update(T0, *FIRST, clear=True))
        recorder.mark(0, "clock_step", T0 + 7200 * S, value=7200 * S)
        recorder.book(0, update(T0 + 7200 * S, (BID, 99, 1)))
        recorder.mark(0, "clock_step", T0 + 2 * S, value=-7200 * S)
        for second in range(3, 60):
            recorder.book(0, update(T0 + second * S, (BID, 99, second)))
        recorder.book(0, update(T0 + 7300 * S, (BID, 98, 1)))
    assert len(segments(tmp_path)[CONTRACT.id, "2025-01-01"]) == 4  # the last is another for its age
    events, findings = told(tmp_path)
    books = [event.ts_recv for event in events if isinstance(event, BookUpdate)]
    assert set(books) >= {T0 + second * S for second in (0, *range(3, 60), 7200, 7300)}
    drops, notes = findings.take(CONTRACT.id)
    assert "clock_set_back" not in drops
    assert any("this machine's clock was set while recording" in note for note in notes)


def test_a_market_that_never_came_leaves_no_file(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.mark(0, "connected", T0)
    assert not segments(tmp_path)
    assert not recorder.failure


def test_prices_off_the_tick_are_left_out_and_counted(tmp_path: Path) -> None:
    other = TABLE.by_id("ETHUSDT-LINEAR.BYBIT")  # its tick is a tenth of the other's, its lot ten of them

    def finer(ts: int, *levels: Level, clear: bool = False) -> OrderBookDeltas:
        rows = DeltaMaker(other).deltas(levels, 1, ts, ts, clear)
        return OrderBookDeltas(MAKE.instrument_id, [_moved(row) for row in rows])

    with recording(tmp_path) as recorder:
        recorder.book(0, finer(T0, (BID, 990, 1), (BID, 985, 1), (ASK, 1010, 1), clear=True))
    events, findings = told(tmp_path)
    assert events[0].levels == [(BID, 99, 10), (ASK, 101, 10)]
    assert findings.total() == {"off_tick": 1}


def _moved(row: OrderBookDelta) -> OrderBookDelta:
    if row.is_clear:
        return OrderBookDelta.clear(MAKE.instrument_id, row.sequence, row.ts_event, row.ts_init)
    return OrderBookDelta(MAKE.instrument_id, row.action, row.order, row.flags, row.sequence, row.ts_event, row.ts_init)


def test_a_writer_that_stands_still_delays_nobody_and_what_is_lost_is_said(tmp_path: Path) -> None:
    with recording(tmp_path, queue_mb=0.1) as recorder:
        recorder.book(0, update(T0, *FIRST, clear=True))
        until(recorder, lambda: recorder.status is not None and bool(recorder.status.lanes[0].segment))
        os.kill(recorder.writer_pid, signal.SIGSTOP)
        count = 0
        while not recorder.lost:
            count += 1
            recorder.book(0, update(T0 + count * 10**6, (BID, 50 + count % 40, count % 1000)))
        recorder.book(0, update(T0 + S + count * 10**6, (BID, 99, 0)))  # lost as well
        os.kill(recorder.writer_pid, signal.SIGCONT)
        until(recorder, lambda: not recorder.is_behind)
        recorder.trade(0, printed(T0 + 3000 * S))
        assert recorder.asks_for_book == {0}
        recorder.book_anew(0, [(BID, 97, 1), (ASK, 103, 1)], T0 + 3001 * S)
        assert not recorder.asks_for_book
    events, findings = told(tmp_path)
    assert list(last_book(events).levels()) == [(BID, 97, 1), (ASK, 103, 1)]
    drops, notes = findings.take(CONTRACT.id)
    assert drops == {"recorder_lost": 2, "interrupted": 1}
    assert "left records out" in notes[0]


def test_a_writer_that_is_killed_ends_the_recording_and_no_more(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.book(0, update(T0, *FIRST, clear=True))
        until(recorder, lambda: recorder.status is not None and recorder.status.lanes[0].kept_ns == T0)
        os.kill(recorder.writer_pid, signal.SIGKILL)
        until(recorder, lambda: bool(recorder.failure))
        recorder.book(0, update(T0 + S, (BID, 99, 1)))
    assert "ended with code -9" in recorder.failure
    assert not recorder.gave_up
    events, _ = told(tmp_path)
    assert [event.ts_recv for event in events] == [T0]


def test_a_recorder_that_is_killed_leaves_a_writer_that_ends_its_files(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:  # no return: whatever happens, this is not the test any more
        try:
            made = make_recorder(CaptureConfig(min_free_mb=0), tmp_path, [CONTRACT], "capture")
            made.book(0, update(T0, *FIRST, clear=True))
            made.book(0, update(T0 + S, (BID, 99, 1)))
            made.pump()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + HUNG_S
    while len(told(tmp_path)[0] if segments(tmp_path) else []) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _limit(recorder: Recorder, size: int) -> None:
    """The largest file that the writer may have: the system's own error, as on a full disk."""
    resource.prlimit(recorder.writer_pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _fill(recorder: Recorder, contract: Contract, holds: Callable[[], bool]) -> int:
    count = 0

    def enough() -> bool:
        nonlocal count
        count += 1
        recorder.book(0, update(T0 + count * 10**6, (BID, 50 + count % 40, count % 1000)))
        return holds()

    until(recorder, enough)
    return count


def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.book(0, update(T0, *FIRST, clear=True))
        until(recorder, lambda: recorder.status is not None and bool(recorder.status.lanes[0].segment))
        _limit(recorder, 1500)
        count = _fill(recorder, CONTRACT, lambda: bool(recorder.status and recorder.status.failing))
        _limit(recorder, resource.RLIM_INFINITY)
        until(recorder, lambda: bool(recorder.status and not recorder.status.failing))
    events, findings = told(tmp_path)
    assert len(events) == count + 1
    assert not findings.total()
    assert not recorder.failure


def test_a_disk_that_stays_full_ends_the_recording_with_what_is_whole(tmp_path: Path) -> None:
    with recording(tmp_path, retry_s=0) as recorder:
        recorder.book(0, update(T0, *FIRST, clear=True))
        until(recorder, lambda: recorder.status is not None and recorder.status.lanes[0].kept_ns == T0)
        _limit(recorder, 1500)
        count = _fill(recorder, CONTRACT, lambda: bool(recorder.failure))
    assert recorder.gave_up
    assert recorder.failure == f"{tmp_path}: File too large"
    assert recorder.status is not None
    kept = recorder.status.lanes[0].kept_ns
    events, findings = told(tmp_path)
    assert 1 <= len(events) < count
    assert events[-1].ts_recv == kept
    assert not findings.total()


def test_recording_ends_before_the_disk_is_full(tmp_path: Path) -> None:
    made = make_recorder(CaptureConfig(min_free_mb=1e12), tmp_path, [CONTRACT], "capture")
    try:
        made.book(0, update(T0, *FIRST, clear=True))
        until(made, lambda: bool(made.failure))
    finally:
        made.close()
    assert made.gave_up
    assert "MB are left on the disk (capture.min_free_mb 1e+12)" in made.failure


class Alarms(list[tuple[str, str]]):
    def __call__(self, kind: str, text: str) -> None:
        self.append((kind, text))


def test_a_traders_recording_that_falls_behind_is_given_its_book(tmp_path: Path) -> None:
    alarms = Alarms()
    settings = CaptureConfig(flush_s=0.05, min_free_mb=0, queue_mb=0.1)
    traders = TraderRecording(settings, tmp_path, CONTRACT, 50, "paper", alarms)
    recorder = traders._recorder
    try:
        traders.bind(lambda _: ([(97, 1)], [(103, 1)]))
        traders.on_book(update(T0, *FIRST, clear=True))
        until(recorder, lambda: recorder.status is not None and recorder.status.lanes[0].kept_ns == T0)
        os.kill(recorder.writer_pid, signal.SIGSTOP)
        count = 0
        while not recorder.lost:
            count += 1
            traders.on_book(update(T0 + count * 10**6, (BID, 50 + count % 40, count % 1000)))
        os.kill(recorder.writer_pid, signal.SIGCONT)
        until(recorder, lambda: not recorder.is_behind)
        traders.by_timer()
        traders.on_book(update(T0 + 60 * S, (BID, 97, 1)))
    finally:
        traders.close()
    events, findings = told(tmp_path / "recording")
    assert list(last_book(events).levels()) == [(BID, 97, 1), (ASK, 103, 1)]
    assert findings.total()["recorder_lost"] == 1
    assert [kind for kind, _ in alarms] == ["recording"]
    assert "not all recorded" in alarms[0][1]


def test_what_goes_wrong_with_a_traders_recording_is_an_alarm_and_no_more(tmp_path: Path) -> None:
    alarms = Alarms()
    traders = TraderRecording(CaptureConfig(min_free_mb=0), tmp_path, CONTRACT, 50, "live", alarms)
    try:
        traders.on_book(None)  # type: ignore[arg-type]
        traders.on_trade(printed(T0))
        traders.by_timer()
    finally:
        traders.close()
    assert len(alarms) == 1
    assert "no longer recorded: AttributeError" in alarms[0][1]


@pytest.mark.parametrize("left", ["ended", "killed"])
def test_another_session_of_the_day_says_how_the_one_before_ended(tmp_path: Path, left: str) -> None:
    with recording(tmp_path) as recorder:
        recorder.book(0, update(T0, *FIRST, clear=True))
        if left == "killed":
            until(recorder, lambda: recorder.status is not None and recorder.status.lanes[0].kept_ns == T0)
            os.kill(recorder.writer_pid, signal.SIGKILL)
    with recording(tmp_path) as recorder:
        recorder.book(0, update(T0 + 30 * S, *FIRST[1:], clear=True))
    events, findings = told(tmp_path)
    assert list(last_book(events).levels()) == sorted(FIRST[1:])
    said = {"ended": "the recorder had ended", "killed": "the recorder was killed"}[left]
    assert said in findings.take(CONTRACT.id)[1][0]

"""The writer: a process that brings records to disk, so that whoever sees the market never waits for a disk.

It reads its `Setup`, then records, from stdin, and tells how it stands on stdout, a line a second. When stdin ends,
however the other process ended, it writes what it has and leaves. Run as `python -m venues.recordings.capture.writer`.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import msgspec

from market.contracts import Sessions
from market.events import BID, Level
from market.sessions import SessionClock
from venues.recordings.capture.format import Change, Header, Key, Mark, Print, Record, pack_record, unpack_record
from venues.recordings.capture.segment import Segment, last_of

ENVELOPE = struct.Struct("<IH")
"""Before each record: its length, and which instrument's it is."""
GAVE_UP = 3
"""Exit code of a writer that the disk did not let write."""
_READ = 1 << 20
_BATCH = 1 << 18
_STATUS_S = 1.0
_RETRY_S = 1.0
_IDLE_S = 60.0
FAR_NS = 60_000_000_000
"""A clock that is set by more begins another segment, which may be of another day."""
_MB = 1_000_000
_EARLY = 100  # marks kept before a segment is open


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a writer is told at its start; `headers` and `sessions` belong together, one an instrument.

    Parameters
    ----------
    folder : str
    headers : list[Header]
        Date and start are filled in for each segment.
    sessions : list[Sessions]
    flush_s : float
        Nothing older than this is kept from the disk.
    key_s : float
        How often the whole book is written.
    segment_mb, segment_minutes : float
        A segment that is larger or older is followed by another.
    queue_mb : float
        So much waits in memory for a disk that does not take it.
    min_free_mb : float
        With less left on the disk, writing ends.
    retry_s : float
        An error of the disk that lasts for so long ends it.

    """

    folder: str
    headers: list[Header]
    sessions: list[Sessions]
    flush_s: float = 1.0
    key_s: float = 60.0
    segment_mb: float = 64.0
    segment_minutes: float = 60.0
    queue_mb: float = 64.0
    min_free_mb: float = 500.0
    retry_s: float = 30.0


class LaneStatus(msgspec.Struct):
    """One instrument's counts since the writer's start; `lost` are on no disk, `kept_ns` is the last arrival on it."""

    instrument: str
    updates: int = 0
    trades: int = 0
    books_anew: int = 0
    lost: int = 0
    kept_ns: int = 0
    segment: str = ""


class Status(msgspec.Struct):
    """How a writer stands: bytes on disk and free, what keeps it from writing, and what ended it."""

    lanes: list[LaneStatus]
    written: int = 0
    segments: int = 0
    free: int = 0
    failing: str = ""
    failure: str = ""


class _Lane:
    """One instrument on its way to disk."""

    def __init__(self, setup: Setup, index: int) -> None:
        self._setup, self._header = setup, setup.headers[index]
        self._clock = SessionClock(setup.sessions[index])
        self._folder = Path(setup.folder)
        self._book: tuple[dict[int, int], dict[int, int]] | None = None
        self._waiting: list[bytes] = []
        self.bytes_waiting = 0
        self._early: deque[Mark] = deque(maxlen=_EARLY)
        self._segment: Segment | None = None
        self._day, self._opened_ns, self._key_ns, self._last_ns = "", 0, 0, 0
        self._touched = time.monotonic()
        self._is_set = False  # our clock was set: another segment is to begin
        self._event_ns = 0  # the exchange's time of the book
        self.status = LaneStatus(self._header.instrument)
        self.segments = self.written = 0

    def add(self, packed: bytes) -> None:
        """Take a record: the day that it belongs to, and whether a new segment begins, are settled here.

        Marks open no segment: of a market that never came there is no file.
        """
        record = unpack_record(packed)
        if isinstance(record, Mark):
            if self._segment is None:
                self._early.append(record)
                return
        else:
            self._turn(record.ts)
            while self._early:
                mark = self._early.popleft()
                self._put(self._started(mark) if mark.kind == "start" else mark)
        self._put(record, packed)

    def _put(self, record: Record, packed: bytes = b"") -> None:
        self._keep(packed or pack_record(record))
        self._count(record)
        self._last_ns, self._touched = record.ts, time.monotonic()

    def flush(self) -> None:
        """Write what waits as one frame; raises `OSError` where the disk does not take it, and keeps it."""
        if self._segment is None or not self._waiting:
            return
        self.written += self._segment.append(self._waiting)
        self._waiting, self.bytes_waiting = [], 0
        self._segment.sync()
        self.status.kept_ns = self._last_ns

    def give_up(self) -> None:
        """What waits is lost."""
        self.status.lost += len(self._waiting)
        self._waiting, self.bytes_waiting = [], 0

    def look(self, now_ns: int) -> None:
        """By time: end the segment of a day that is over, where the market does not do it by going on."""
        is_idle = time.monotonic() - self._touched > _IDLE_S
        if self._segment is not None and is_idle and self._date(now_ns) > self._day:
            self.close()

    def close(self) -> None:
        """Write what waits and end the segment; the next record opens another."""
        self.flush()
        if self._segment is not None:
            self._segment.close()
        self._segment, self.status.segment = None, ""

    def _turn(self, ts: int) -> None:
        """Begin a segment, or another one, with the book as it stands."""
        s, day = self._setup, self._date(ts)
        if self._is_set or (self._last_ns and ts < self._last_ns - FAR_NS):
            self.close()  # by so much that the times of one segment would not be in order
            self._day, self._is_set = "", False
        segment = self._segment
        if segment is not None:
            old = ts - self._opened_ns > s.segment_minutes * 60e9 or segment.size > s.segment_mb * _MB
            if day <= self._day and not old:  # a clock that was set back does not open yesterday again
                if ts - self._key_ns > s.key_s * 1e9:
                    self._write_key(ts)
                return
            self.close()
        day = max(day, self._day)
        self._segment = Segment(self._folder, msgspec.structs.replace(self._header, date=day, start_ns=ts))
        self.status.segment = str(self._segment.path)
        self.segments += 1
        self.written += self._segment.size
        self._day, self._opened_ns = day, ts
        self._write_key(ts)

    def _write_key(self, ts: int) -> None:
        self._key_ns = ts
        if self._book is not None:
            self._keep(pack_record(Key(ts, ts - self._event_ns, _levels(self._book))))

    def _started(self, mark: Mark) -> Mark:
        """A session that follows another one of the day says so."""
        assert self._segment is not None
        before = last_of(self._segment.path.parent)
        if before is None:
            return mark
        return msgspec.structs.replace(mark, since=before[0], text="ended" if before[1] else "killed")

    def _keep(self, packed: bytes) -> None:
        self._waiting.append(packed)
        self.bytes_waiting += len(packed)

    def _count(self, record: Record) -> None:
        if isinstance(record, Change):
            self.status.updates += 1
            self._event_ns = record.ts - record.age
            if record.whole:
                self.status.books_anew += 1
                self._book = ({}, {})
            if self._book is not None:
                for side, price, size in record.levels:
                    levels = self._book[side != BID]
                    if size:
                        levels[price] = size
                    else:
                        levels.pop(price, None)
        elif isinstance(record, Print):
            self.status.trades += 1
        elif isinstance(record, Mark) and record.kind == "lost":
            self.status.lost += record.value
            self._book = None  # until it is sent anew
        elif isinstance(record, Mark) and record.kind == "clock_step":
            self._is_set |= abs(record.value) > FAR_NS

    def _date(self, ts: int) -> str:
        return str(self._clock.trading_day(ts))


def _levels(book: tuple[dict[int, int], dict[int, int]]) -> list[Level]:
    return [(side, price, size) for side, levels in enumerate(book, 1) for price, size in levels.items()]


class Writer:
    """All instruments, from stdin to disk."""

    def __init__(self, setup: Setup, source: int, told: int) -> None:
        self._setup, self._source, self._told = setup, source, told
        self._lanes = [_Lane(setup, index) for index in range(len(setup.headers))]
        self._status = Status([lane.status for lane in self._lanes])
        self._rest = bytearray()
        self._failing_since = 0.0

    def run(self) -> int:
        """Until stdin ends, or the disk gives out; return the exit code."""
        flush_at = status_at = 0.0
        while not self._status.failure:
            now = time.monotonic()
            if now >= flush_at:
                self._flush()
                flush_at = now + (_RETRY_S if self._failing_since else self._setup.flush_s)
            if now >= status_at:
                self._look()
                self._tell()
                status_at = now + _STATUS_S
            room = self._bytes_waiting() < self._setup.queue_mb * _MB
            until = max(min(flush_at, status_at) - time.monotonic(), 0.0)
            if not select.select([self._source] if room else [], [], [], until)[0]:
                continue
            chunk = os.read(self._source, _READ)
            if not chunk:
                break
            self._take(chunk)
            if not self._failing_since and self._bytes_waiting() > _BATCH:
                self._flush()
        return self._leave()

    def _take(self, chunk: bytes) -> None:
        self._rest += chunk
        at, rest = 0, self._rest
        while len(rest) - at >= ENVELOPE.size:
            size, index = ENVELOPE.unpack_from(rest, at)
            if len(rest) - at - ENVELOPE.size < size:
                break
            at += ENVELOPE.size
            record = bytes(rest[at : at + size])
            at += size
            self._add(index, record)
        del rest[:at]

    def _add(self, index: int, record: bytes) -> None:
        while not self._status.failure:
            try:
                self._lanes[index].add(record)
                return
            except OSError as error:  # a segment could not be ended, or another one begun
                self._failed(error)
                self._tell()
                time.sleep(_RETRY_S)

    def _bytes_waiting(self) -> int:
        return sum(lane.bytes_waiting for lane in self._lanes)

    def _flush(self) -> None:
        try:
            for lane in self._lanes:
                lane.flush()
        except OSError as error:
            self._failed(error)
        else:
            self._failing_since, self._status.failing = 0.0, ""

    def _failed(self, error: OSError) -> None:
        """The disk does not take it: try again for a while, then give up."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        self._status.failing = f"{self._setup.folder}: {error.strerror or error}"
        if now - self._failing_since >= self._setup.retry_s:
            self._status.failure = self._status.failing

    def _look(self) -> None:
        with suppress(OSError):
            self._status.free = shutil.disk_usage(self._setup.folder).free
            if self._status.free < self._setup.min_free_mb * _MB:
                self._status.failure = (
                    f"{self._setup.folder}: only {self._status.free // _MB:,} MB are left on the disk "
                    f"(capture.min_free_mb {self._setup.min_free_mb:g})"
                )
            now = time.time_ns()
            for lane in self._lanes:
                lane.look(now)

    def _leave(self) -> int:
        """End all segments; what cannot be written any more is lost."""
        for lane in self._lanes:
            while True:
                try:
                    lane.close()
                    break
                except OSError as error:
                    self._failed(error)
                    if self._status.failure:
                        lane.give_up()
                        break
                    time.sleep(_RETRY_S)
        self._tell()
        return GAVE_UP if self._status.failure else 0

    def _tell(self) -> None:
        """Say how it stands, if somebody listens."""
        self._status.written = sum(lane.written for lane in self._lanes)
        self._status.segments = sum(lane.segments for lane in self._lanes)
        with suppress(OSError):
            os.write(self._told, msgspec.json.encode(self._status) + b"\n")


def main() -> int:
    """Read the setup and write until the end; signals are for the process that records."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(AttributeError, ValueError):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a limit on the size of files is an error like a full disk
    source, told = sys.stdin.fileno(), sys.stdout.fileno()
    os.set_blocking(told, False)
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(source, 1)
        if not byte:
            return 0
        line += byte
    return Writer(msgspec.json.decode(line, type=Setup), source, told).run()


if __name__ == "__main__":
    sys.exit(main())

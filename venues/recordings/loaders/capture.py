"""Segments of `cmm capture`, and of traders that record what they see."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from market.contracts import Contract
from market.errors import DataError
from market.events import BookUpdate, Event, Level, Trade
from market.sessions import SessionClock
from venues.recordings.capture.format import (
    MAGIC,
    Change,
    Damage,
    Header,
    Key,
    Mark,
    Print,
    Record,
    read_header,
    read_segment,
)
from venues.recordings.loaders.base import Recording, Traits
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import FAR_NS, Seen, in_time
from venues.recordings.terms import RecordingTerms

_NAMED = 5
_NEVER = 1 << 62
_CLOCK_NS = 500_000_000
"""An exchange's clock that is off by more than this, or a clock of ours that was set by more, is worth a remark."""


class CaptureLoader:
    """An instrument's segments of one trading day join into one recording, in order of time."""

    name = "capture"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return head.startswith(MAGIC.decode())

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
        for path in paths:
            header = read_header(path)
            groups.setdefault((header.instrument, header.date), []).append((header.start_ns, path))
        return [Recording(self.name, tuple(p for _, p in sorted(files))) for _, files in sorted(groups.items())]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_read(recording, terms, findings), findings, recording.name)


def _read(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    stream: _Stream | None = None
    for path in recording.files:
        header = read_header(path)
        contract = _contract(path, header, terms)
        if stream is None:
            stream = _Stream(contract, header, findings)
        for part in read_segment(path):
            if isinstance(part, Damage):
                stream.damaged(part)
                continue
            for record in part:
                event = stream.event(record)
                if event is not None:
                    yield event
    if stream is not None:
        stream.finish()


def _contract(path: Path, header: Header, terms: RecordingTerms) -> Contract:
    symbol, _, exchange = header.instrument.rpartition(".")
    day = int(header.date.replace("-", ""))
    contract = terms.find(exchange, symbol, header.start_ns, day)
    if contract is None:
        raise DataError(f"{path}: no contract terms for {symbol} on {exchange}; add a row for it")
    found = contract.terms
    if (str(found.tick), str(found.lot)) != (header.tick, header.lot):
        raise DataError(
            f"{path}: recorded with tick {header.tick} and lot {header.lot}, the contract table says {found.tick} and "
            f"{found.lot} of {header.date}; correct the table (data.contracts)"
        )
    return contract


class _Stream:
    """Records into events. After a gap nothing is told of the book until it is given whole."""

    def __init__(self, contract: Contract, header: Header, findings: Findings) -> None:
        self._contract, self._depth = contract, header.depth
        self._findings, self._counts = findings, findings.of(contract.id)
        self._clock = SessionClock(contract.sessions)
        self._book: dict[tuple[int, int], int] = {}
        self._hidden: dict[tuple[int, int], int] | None = None  # the book as it was told, while it changes unseen
        self._is_known = False
        self._last = 0
        self._why = ""  # why the book is unknown, or is about to be given anew
        self._down_ns, self._break = 0, (0, 0)  # since when a socket is down; when one was
        self._was_silent = False
        self._sequence = 0
        self._seen = Seen()
        self._gaps: list[str] = []
        self._gap_count, self._gap_ns = 0, 0
        self._offsets: tuple[int, int] | None = None
        self._quickest = _NEVER
        self._steps: list[int] = []

    def event(self, record: Record) -> Event | None:
        """What a record comes to, if it tells of the market."""
        if isinstance(record, Mark):
            self._mark(record)
            return None
        if record.ts < self._last - FAR_NS:
            self._counts["clock_set_back"] += 1
            self._unknown("our clock was set back")
            return None
        if self._hidden is None and not self._clock.is_open(record.ts):
            self._hidden = dict(self._book)
        if not isinstance(record, Key):
            self._quickest = min(self._quickest, record.age)
        event = self._trade(record) if isinstance(record, Print) else self._update(record)
        self._last = max(self._last, record.ts)
        return event

    def damaged(self, damage: Damage) -> None:
        """Bytes that hold no whole frame: what they held is lost."""
        self._counts["torn_frame" if damage.at_end else "damaged_frame"] += 1
        if not damage.at_end:
            self._unknown("the file is damaged")

    def finish(self) -> None:
        """Remark what was interrupted, and clocks that were off."""
        note, name = self._findings.note, self._contract.id
        self._settle_break()
        if self._gap_count:
            more = f"; and {self._gap_count - _NAMED} more" if self._gap_count > _NAMED else ""
            times = {1: "once", 2: "twice"}.get(self._gap_count, f"{self._gap_count:,} times")
            note(
                name, "interrupted",
                f"the recording was interrupted {times}, {self._gap_ns / 1e9:,.1f} s in all, and what happened "
                f"meanwhile is unknown: {'; '.join(self._gaps)}{more}",
            )  # fmt: skip
        if self._offsets is not None:
            low, high = (value / 1e9 for value in self._offsets)
            note(
                name,
                "clock",
                f"the exchange's clock was {low:+.3f} to {high:+.3f} s off ours at times: one of them was wrong",
            )
        if self._quickest < -_CLOCK_NS:
            early = f"events arrived up to {-self._quickest / 1e9:.3f} s before the exchange's stamp of them"
            note(name, "lag", f"{early}: one of the clocks was wrong")
        elif _CLOCK_NS < self._quickest < _NEVER:
            late = f"nothing arrived sooner than {self._quickest / 1e9:.3f} s after the exchange's stamp of it"
            note(name, "lag", f"{late}: the connection was slow, or one of the clocks was wrong")
        if self._steps:
            sizes = ", ".join(f"{step / 1e9:+.3f} s" for step in self._steps)
            note(
                name,
                "clock_step",
                f"this machine's clock was set while recording ({sizes}): arrival times are not evenly spaced",
            )

    def _trade(self, record: Print) -> Event | None:
        if record.trade_id and self._seen.again(record.trade_id):
            self._counts["duplicate_trade"] += 1
            return None
        ts = record.ts
        return Trade(self._contract.id, ts - record.age, ts, record.price, record.lots, record.aggressor)

    def _update(self, record: Change | Key) -> Event | None:
        """An update, or the book as it stands where that is news."""
        if isinstance(record, Key):
            if self._is_known:
                if self._book == _levels(record.levels):
                    return None
                self._unknown("a segment is missing")
            return self._anew(record.ts, record.age, record.levels)
        if record.sequence and not record.whole and record.sequence < self._sequence:
            self._counts["sequence_gap"] += 1
        was_silent, self._was_silent = self._was_silent, False
        self._sequence = record.sequence
        if record.whole:
            if self._is_known and not self._why:
                if self._book == _levels(record.levels):
                    self._counts["book_repeated"] += 1
                    return None
                self._why = "the venue fell silent" if was_silent else "messages were lost"
            return self._anew(record.ts, record.age, record.levels)
        if not self._is_known:
            self._counts["diff_before_snapshot"] += 1
            return None
        self._apply(record.levels)
        return self._told(record.ts, record.age, record.levels)

    def _anew(self, ts: int, age: int, levels: list[Level]) -> Event | None:
        """The whole book: told as the changes that lead to it, so that nothing of the old one stays."""
        if self._why and self._last:
            self._interrupted(self._last, ts, self._why)
        shown = {(side, price) for side, price, _ in levels}
        gone = [(side, price, 0) for side, price in self._book if (side, price) not in shown]
        self._book, self._why, self._is_known, self._break = {}, "", True, (0, 0)
        self._apply(levels)
        return self._told(ts, age, [*gone, *levels])

    def _apply(self, levels: list[Level]) -> None:
        for side, price, size in levels:
            if size:
                self._book[side, price] = size
            else:
                self._book.pop((side, price), None)

    def _told(self, ts: int, age: int, levels: list[Level]) -> Event | None:
        """A change, in a session; what changed between sessions is told with the first of the next one."""
        if self._hidden is not None:
            if not self._clock.is_open(ts):
                self._counts["outside_session"] += 1
                return None
            gone = [(*key, 0) for key in self._hidden if key not in self._book]
            levels = [*gone, *((*key, size) for key, size in self._book.items())]
            self._hidden = None
        return BookUpdate(self._contract.id, ts - age, ts, levels, depth=self._depth)

    def _unknown(self, why: str) -> None:
        self._is_known, self._why = False, self._why or why

    def _settle_break(self) -> None:
        """A socket was down, and no book was sent anew: what else it carries was lost."""
        if self._break[1]:
            self._interrupted(*self._break, "a connection was lost")
        self._break = (0, 0)

    def _interrupted(self, since: int, until: int, why: str) -> None:
        self._counts["interrupted"] += 1
        self._gap_count += 1
        self._gap_ns += max(until - since, 0)
        if len(self._gaps) < _NAMED:
            self._gaps.append(f"{_iso(since)} for {max(until - since, 0) / 1e9:.1f} s ({why})")

    def _mark(self, mark: Mark) -> None:
        if mark.kind == "start":
            self._started(mark)
        elif mark.kind == "disconnected":
            self._settle_break()
            self._why, self._down_ns = "the connection was lost", mark.ts
        elif mark.kind == "connected" and self._down_ns:
            self._break, self._down_ns = (self._down_ns, mark.ts), 0
        elif mark.kind == "silent":
            self._was_silent = True
        elif mark.kind == "lost":
            self._counts["recorder_lost"] += mark.value
            self._unknown("the recorder was behind, and left records out")
        elif mark.kind in ("off_tick", "rounded"):
            self._counts["off_tick" if mark.kind == "off_tick" else "size_rounded_to_lot"] += mark.value
        elif mark.kind == "clock":
            if abs(mark.value) - mark.since // 2 > _CLOCK_NS:  # an answer that took long tells little
                low, high = self._offsets or (mark.value, mark.value)
                self._offsets = min(low, mark.value), max(high, mark.value)
        elif mark.kind == "clock_step" and abs(mark.value) > _CLOCK_NS and len(self._steps) < _NAMED:
            self._steps.append(mark.value)

    def _started(self, mark: Mark) -> None:
        """Another run of the recorder: what the one before left is no book any more."""
        self._sequence = self._down_ns = 0
        self._settle_break()
        if mark.since:
            self._last = max(self._last, mark.since)
            self._unknown("the recorder was killed" if mark.text == "killed" else "the recorder had ended")


def _levels(levels: list[Level]) -> dict[tuple[int, int], int]:
    return {(side, price): size for side, price, size in levels}


def _iso(ts_ns: int) -> str:
    return dt.datetime.fromtimestamp(ts_ns / 1e9, dt.UTC).isoformat(timespec="milliseconds")

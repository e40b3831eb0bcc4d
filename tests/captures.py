"""Segments of a capture, made by hand, and what the loader tells of them."""

from __future__ import annotations

from pathlib import Path

from market.contracts import ContractTable
from market.events import ASK, BID, BUY, BookUpdate, Event
from market.level_book import LevelBook
from venues.recordings.capture.format import (
    Change,
    Header,
    Mark,
    Print,
    Record,
    pack_frame,
    pack_record,
    pack_start,
)
from venues.recordings.loaders import LOADERS, recordings
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms

BTC = "BTCUSDT-LINEAR.BYBIT"
S = 10**9
TABLE = ContractTable()
T0 = 1_735_725_600 * S  # 2025-01-01 10:00 UTC
HEADER = Header(
    schema=1, instrument=BTC, date="2025-01-01", start_ns=T0, tick="0.1", lot="0.001", depth=50, source="capture",
    session="1",
)  # fmt: skip
BOOK = [(BID, 99, 5), (BID, 98, 9), (ASK, 101, 5), (ASK, 102, 9)]


def whole(ts: int, levels: list[tuple[int, int, int]] = BOOK, sequence: int = 1) -> Change:
    return Change(ts, 1_000_000, sequence, levels, True)


def change(ts: int, *levels: tuple[int, int, int], sequence: int = 0) -> Change:
    return Change(ts, 1_000_000, sequence, list(levels))


def trade(ts: int, price: int = 101, trade_id: str = "") -> Print:
    return Print(ts, 1_000_000, price, 2, BUY, trade_id)


def pieces(frames: list[list[Record]], header: Header = HEADER) -> list[bytes]:
    return [pack_start(header), *(pack_frame([pack_record(record) for record in frame]) for frame in frames)]


def write(path: Path, *frames: list[Record], header: Header = HEADER) -> Path:
    path.write_bytes(b"".join(pieces(list(frames), header)))
    return path


def told(*paths: Path) -> tuple[list[Event], Findings]:
    [recording] = recordings(list(paths))
    findings = Findings()
    events = list(LOADERS["capture"].events(recording, RecordingTerms(TABLE), findings))
    return events, findings


def book_after(events: list[Event]) -> dict[tuple[int, int], int]:
    book = LevelBook()
    for event in events:
        if isinstance(event, BookUpdate):
            book.apply(event)
    return {(side, price): size for side, price, size in book.levels()}


FRAMES: list[list[Record]] = [
    [Mark(T0, "start"), whole(T0 + S)],
    [change(T0 + 2 * S, (BID, 99, 6)), trade(T0 + 2 * S + 1)],
    [change(T0 + 3 * S, (ASK, 101, 0), (ASK, 103, 4))],
]
"""Three frames of a market."""

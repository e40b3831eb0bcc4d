"""The capture format: torn tails, damage, files that something was done to; what is whole is read."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.errors import DataError
from market.events import BID
from tests.captures import BTC, FRAMES, HEADER, T0, S, change, pieces, told, whole, write
from venues.recordings.capture.format import (
    Damage,
    Mark,
    Record,
    pack_record,
    read_header,
    read_segment,
)
from venues.recordings.capture.segment import Segment, last_of, segments
from venues.recordings.loaders import detect

PIECES = pieces(FRAMES)
FILE = b"".join(PIECES)
EDGES = [sum(map(len, PIECES[: i + 1])) for i in range(len(PIECES))]


def parts(path: Path) -> list[list[Record] | Damage]:
    return list(read_segment(path))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.cap", *FRAMES)
    assert read_header(path) == HEADER
    assert parts(path) == FRAMES
    assert detect(path).name == "capture"


@given(cut=st.integers(EDGES[0], len(FILE)))
def test_a_file_cut_anywhere_tells_its_whole_frames(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.cap"
    path.write_bytes(FILE[:cut])
    kept = [frame for frame, end in zip(FRAMES, EDGES[1:], strict=True) if end <= cut]
    torn = cut - max(edge for edge in EDGES if edge <= cut)
    assert parts(path) == [*kept, *([Damage(torn, at_end=True)] if torn else [])]


@given(place=st.integers(EDGES[0], len(FILE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_its_frame_and_no_other(
    place: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flip") / "a.cap"
    data = bytearray(FILE)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    hit = next(i for i, end in enumerate(EDGES[1:]) if place < end)
    found = parts(path)
    assert [part for part in found if not isinstance(part, Damage)] == [f for i, f in enumerate(FRAMES) if i != hit]
    assert [part for part in found if isinstance(part, Damage)] == [
        Damage(EDGES[hit + 1] - EDGES[hit], at_end=hit == len(FRAMES) - 1)
    ]


@given(
    place=st.integers(0, len(FILE) - 1), taken=st.integers(0, 40), put=st.binary(max_size=40),
)  # fmt: skip
def test_a_file_that_something_was_done_to_is_refused_or_tells_what_was_recorded(
    place: int, taken: int, put: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.cap"
    path.write_bytes(FILE[:place] + put + FILE[place + taken :])
    try:
        events, _ = told(path)
    except DataError:
        return
    recorded = [record.ts for frame in FRAMES for record in frame if not isinstance(record, Mark)]
    assert {event.ts_recv for event in events} <= set(recorded)


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_segment_are_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("junk") / "a.cap"
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_header(path)


def test_a_header_that_is_damaged_or_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.cap"
    path.write_bytes(FILE[: EDGES[0] - 3])
    with pytest.raises(DataError, match="before its first record"):
        read_header(path)
    newer = replace(HEADER, schema=2)
    with pytest.raises(DataError, match="schema 2"):
        read_header(write(path, header=newer))


def test_a_segment_that_the_disk_does_not_take_is_cut_back(tmp_path: Path) -> None:
    segment = Segment(tmp_path, HEADER)
    segment.append([pack_record(whole(T0))])
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (segment.size + 20, before[1]))
        with pytest.raises(OSError, match="too large"):
            segment.append([pack_record(change(T0 + S, (BID, 99, 7)))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    segment.append([pack_record(change(T0 + 2 * S, (BID, 99, 8)))])
    segment.close()
    assert parts(segment.path) == [[whole(T0)], [change(T0 + 2 * S, (BID, 99, 8))]]
    assert segments(tmp_path) == {(BTC, "2025-01-01"): [segment.path]}
    assert last_of(segment.path.parent) == (T0 + 2 * S, False)

"""The capture format: records of one instrument, in frames that stand each for itself.

A segment file begins with `MAGIC`; then come frames: `SYNC`, the length of what follows packed and unpacked, a
CRC-32 of these lengths and the content, and the content, compressed by zstd. The first frame holds the
`Header`, every other one a list of records (msgpack). Frames are only ever appended. A frame that was
being written when the power or the process went is torn: its length or its checksum does not hold, and all before it is
whole. A frame that was damaged later is passed over in the same way, up to the next one that holds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import zstandard

from market.errors import DataError
from market.events import Level

MAGIC = b"CMMCAP1\n"
SUFFIX = ".cap"
SCHEMA = 1

_SYNC = b"\xc5\x0aFR"
_HEAD = struct.Struct("<4sIII")
_LENGTHS = struct.Struct("<II")
_LARGEST = 1 << 28
_LIST = struct.Struct(">BI")  # msgpack's array with a length of 32 bits
_LEVEL = 5
_READ = 1 << 20

type MarkKind = Literal[
    "start", "end", "connected", "disconnected", "silent", "lost", "off_tick", "rounded", "clock", "clock_step"
]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment is of.

    Parameters
    ----------
    schema : int
    instrument : str
        `Contract.id`.
    date : str
        Trading day: a segment lies within one.
    start_ns : int
        Arrival of its first record.
    tick, lot : str
        What prices and sizes are counted in.
    depth : int
        Levels a side that the feed shows, 0 for the whole book.
    source : str
        Who recorded: `capture`, or a trader (`paper`, `live`).
    session : str
        Names the run of the recorder.
    writer : str
        Its versions.

    """

    schema: int
    instrument: str
    date: str
    start_ns: int
    tick: str
    lot: str
    depth: int
    source: str
    session: str
    writer: str = ""


class Change(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=0):
    """A book update: arrival in ns, how much older the exchange's stamp is, levels that changed, or as `whole` all."""

    ts: int
    age: int
    sequence: int
    levels: list[Level]
    whole: bool = False


class Print(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """A trade; `aggressor` as in `market.events`."""

    ts: int
    age: int
    price: int
    lots: int
    aggressor: int
    trade_id: str = ""


class Key(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """The whole book as the changes before have left it, with the exchange's stamp of the last: reading may begin."""

    ts: int
    age: int
    levels: list[Level]


class Mark(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Something about the recording itself.

    `start` (since: the last arrival of the session before, or 0; text: how that ended: `ended`, `killed`), `end`,
    `connected` and `disconnected` (text: which socket), `silent` (since: the last arrival), `lost` (value: records
    that found no room; since: the first one's arrival), `off_tick` and `rounded` (value: levels), `clock` (value: the
    exchange's clock minus ours, ns; since: how long it took to ask), `clock_step` (value: by how much ours was set).
    """

    ts: int
    kind: MarkKind
    since: int = 0
    value: int = 0
    text: str = ""


type Record = Change | Print | Key | Mark


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a file that hold no whole frame: at its end, where writing was cut short, or within."""

    size: int
    at_end: bool


_records = msgspec.msgpack.Decoder(list[Record])
_record: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
_encoder = msgspec.msgpack.Encoder()
pack_record = _encoder.encode
unpack_record = _record.decode


def pack_frame(records: Sequence[bytes]) -> bytes:
    """A frame of packed records."""
    return _frame(_LIST.pack(0xDD, len(records)) + b"".join(records))


def pack_start(header: Header) -> bytes:
    """How a segment begins."""
    return MAGIC + _frame(msgspec.json.encode(header))


def read_header(path: Path) -> Header:
    """The header of a segment.

    Raises
    ------
    DataError
        It is no segment, of a later version, or damaged in its first frame.

    """
    with _opened(path) as handle:
        return _header(path, handle)


def read_segment(path: Path) -> Iterator[list[Record] | Damage]:
    """Yield the records of a segment, frame by frame; where bytes hold no frame, how many they are.

    Raises `DataError` as `read_header` does.
    """
    with _opened(path) as handle:
        _header(path, handle)
        while True:
            at = handle.tell()
            content = _next(handle)
            if content is not None:
                try:
                    yield _records.decode(content)
                    continue
                except msgspec.DecodeError as error:
                    raise DataError(f"{path}: written by another version: {error}") from error
            following = _search(handle, at + 1)
            end = following if following is not None else handle.seek(0, 2)
            if end > at:
                yield Damage(end - at, at_end=following is None)
            if following is None:
                return
            handle.seek(following)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _header(path: Path, handle: BinaryIO) -> Header:
    if handle.read(len(MAGIC)) != MAGIC:
        raise DataError(f"{path}: not a segment of a capture (unpack it first, if it was packed)")
    content = _next(handle)
    if content is None:
        raise DataError(f"{path}: the segment ends, or is damaged, before its first record")
    try:
        header = msgspec.json.decode(content, type=Header)
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: the segment's header cannot be read: {error}") from error
    if header.schema != SCHEMA:
        raise DataError(f"{path}: a capture of schema {header.schema}, this version reads {SCHEMA}")
    return header


def _frame(content: bytes) -> bytes:
    packed = zstandard.ZstdCompressor(_LEVEL).compress(content)
    lengths = _LENGTHS.pack(len(packed), len(content))
    return _HEAD.pack(_SYNC, len(packed), len(content), zlib.crc32(packed, zlib.crc32(lengths))) + packed


def _next(handle: BinaryIO) -> bytes | None:
    """The content of the frame that begins here; None where none does, or not a whole one."""
    head = handle.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    sync, size, full, checksum = _HEAD.unpack(head)
    if sync != _SYNC or max(size, full) > _LARGEST:
        return None
    packed = handle.read(size)
    if len(packed) < size or zlib.crc32(packed, zlib.crc32(head[4:12])) != checksum:
        return None
    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=full)
    except zstandard.ZstdError:
        return None


def _search(handle: BinaryIO, start: int) -> int | None:
    """Where the next whole frame begins."""
    offset, tail = start, b""
    while True:
        handle.seek(offset)
        chunk = tail + handle.read(_READ)
        base, found = offset - len(tail), chunk.find(_SYNC)
        while found >= 0:
            handle.seek(base + found)
            if _next(handle) is not None:
                return base + found
            found = chunk.find(_SYNC, found + 1)
        if len(chunk) < _READ:
            return None
        offset, tail = base + len(chunk), chunk[-len(_SYNC) + 1 :]

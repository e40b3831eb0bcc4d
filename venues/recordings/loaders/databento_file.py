"""DBN files (plain or zstd): their metadata, and their records, decoded by Databento's own library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import databento_dbn as dbn

from market.errors import DataError
from venues.recordings.loaders.base import open_binary

_CHUNK = 1 << 20
_HEADER = 16  # bytes of a record's header
_RECORDS = {"mbo": (0xA0, 56), "mbp-10": (0x0A, 368), "mbp-1": (0x01, 80), "tbbo": (0x01, 80), "trades": (0x00, 48)}
"""Type and length of a schema's records; a live capture adds the 8 bytes of the time it was sent."""
_SENT = 8
PRICE_UNIT = 1e-9
LAST_FLAG = 128
"""Marks the last record of an exchange's event."""
SCHEMAS = tuple(_RECORDS)
"""What is read."""

type Record = dbn.MBOMsg | dbn.MBP10Msg | dbn.MBP1Msg | dbn.TradeMsg


def symbols(path: Path) -> dict[int, tuple[str, str]]:
    """Venue and symbol by instrument id."""
    meta = metadata(path)
    venue = str(meta.dataset).partition(".")[0]
    return {
        int(interval["symbol"]): (venue, _four_digit(symbol, meta.start))
        for symbol, intervals in meta.mappings.items()
        for interval in intervals
        if str(interval["symbol"]).isdigit()
    }


def _four_digit(symbol: str, start_ns: int) -> str:
    """CME's `ESH4` as `ES2403`, the form of the contract table's futures codes."""
    months = "FGHJKMNQUVXZ"
    if len(symbol) < 3 or symbol[-2] not in months or not symbol[-1].isdigit():
        return symbol
    year = 1970 + int(start_ns / 31_556_952e9)
    decade = year - year % 10 + int(symbol[-1])
    decade += 10 if decade < year - 1 else 0
    return f"{symbol[:-2]}{decade % 100:02d}{months.index(symbol[-2]) + 1:02d}"


def metadata(path: Path) -> dbn.Metadata:
    meta = next(_decoded(path), None)
    if not isinstance(meta, dbn.Metadata):
        raise DataError(f"{path}: not a sound DBN file (it has no metadata)")
    return meta


def schema(meta: dbn.Metadata, path: Path) -> str:
    """The file's schema; raises where it is not one that is read."""
    name = str(meta.schema) if meta.schema is not None else "mixed"
    if name not in _RECORDS:
        raise DataError(f"{path}: schema {name} is not read; {', '.join(SCHEMAS[:-1])} and {SCHEMAS[-1]} are")
    return name


def records(path: Path) -> Iterator[Record]:
    """Yield each record of the file's schema; symbol mappings and messages of the gateway between are left out."""
    kind = schema(metadata(path), path)
    return (record for record in _decoded(path, kind) if not isinstance(record, dbn.Metadata))


def _decoded(path: Path, kind: str | None = None) -> Iterator[dbn.Metadata | Record]:
    """Yield the metadata, then each record of a schema, reading in chunks."""
    decoder = dbn.DBNDecoder()
    frames = _Frames(path, kind)
    with open_binary(path) as raw:
        while chunk := raw.read(_CHUNK):
            try:
                decoder.write(frames.take(chunk))
                yield from decoder.decode()
            except (dbn.DBNError, ValueError, TypeError, KeyError) as error:
                raise DataError(f"{path}: not a sound DBN file ({error})") from error
    if frames.rest:
        raise DataError(f"{path}: the file ends within a record; copy it again")


class _Frames:
    """Cuts a DBN stream into records before it is decoded: the decoder aborts on one of a wrong length."""

    def __init__(self, path: Path, kind: str | None) -> None:
        self._path = path
        self._type, self._size = _RECORDS[kind] if kind is not None else (-1, 0)
        self._begun = False
        self.rest = b""

    def take(self, chunk: bytes) -> bytes:
        """Bytes of the metadata and the schema's records that are whole by now."""
        data = self.rest + chunk
        at, kept = 0, []
        if not self._begun:
            at = 8 + int.from_bytes(data[4:8], "little")
            if len(data) < at or at < 8:
                self.rest = data
                return b""
            self._begun = True
            kept.append(data[:at])
        start, end = at, len(data)
        while at + _HEADER <= end and at + (size := 4 * data[at]) <= end:
            if size < _HEADER or (data[at + 1] == self._type and size not in (self._size, self._size + _SENT)):
                raise DataError(f"{self._path}: not a sound DBN file (a record of {size} bytes)")
            if data[at + 1] != self._type:
                kept.append(data[start:at])
                start = at + size
            at += size
        kept.append(data[start:at])
        self.rest = data[at:]
        return b"".join(kept)

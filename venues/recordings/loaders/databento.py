"""Databento market-by-order files (DBN, plain or zstd), decoded by Databento's own library.

`T` is the trade as the aggressor saw it (its `side` is the aggressor's), `F` the fill of each
resting order; neither changes the book: a cancel or modify follows. Snapshot records open a file.
F_LAST ends an exchange's event, whichever record bears it, also one that changes no order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import databento_dbn as dbn

from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, Event, OrderUpdate, Trade
from venues.recordings.loaders.base import Recording, Traits, open_binary
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.units import Grid
from venues.recordings.terms import RecordingTerms

_CHUNK = 1 << 20
_HEADER, _MBO, _MBO_SIZES = 16, 0xA0, (56, 64)  # bytes of a record's header, its type, its length
_PRICE_UNIT = 1e-9
_UNDEFINED_PRICE = (1 << 63) - 1
_SNAPSHOT_FLAG = 32
_LAST_FLAG = 128
_SIDES = {"B": BID, "A": ASK}
_AGGRESSORS = {"B": BUY, "A": SELL}


class DatabentoLoader:
    """MBO files; files of one symbol given together follow each other."""

    name = "databento"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return head.startswith("DBN")

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[str, list[tuple[int, Path]]] = {}
        for path in paths:
            meta = _metadata(path)
            if str(meta.schema) != "mbo":
                raise DataError(f"{path}: schema {meta.schema} is not read yet; market-by-order (mbo) is")
            groups.setdefault(",".join(meta.symbols), []).append((meta.start, path))
        return [Recording(self.name, tuple(p for _, p in sorted(files))) for files in groups.values()]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_events(recording, terms, findings), findings, recording.name)


def _events(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    streams: dict[str, _Stream] = {}
    for path in recording.files:
        names = _symbols(path)
        by_id: dict[int, _Stream | None] = {}
        for known_stream in streams.values():
            known_stream.next_file()
        for record in _records(path):
            known = record.instrument_id
            if known not in by_id:
                by_id[known] = _stream(names.get(known), record.ts_recv, terms, findings, streams)
            stream = by_id[known]
            if stream is None:
                findings.shared["unknown_instrument"] += 1
            else:
                yield from stream.events(record)
        if not any(by_id.values()) and by_id:
            venue, symbol = next(iter(names.values()), ("", "its instruments"))
            raise DataError(f"{path}: no contract terms for {symbol} on {venue}; add a row for it")
    for stream in streams.values():
        yield from stream.finish()


def _stream(
    named: tuple[str, str] | None, ts: int, terms: RecordingTerms, findings: Findings, streams: dict[str, _Stream]
) -> _Stream | None:
    """The stream of an instrument; it goes on from file to file."""
    contract = terms.find(*named, ts) if named is not None else None
    if contract is None:
        return None
    if contract.id not in streams:
        streams[contract.id] = _Stream(Grid(contract, findings.of(contract.id)))
    return streams[contract.id]


class _Stream:
    def __init__(self, grid: Grid) -> None:
        self._grid, self._id, self._counts = grid, grid.contract.id, grid.counts
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._in_snapshot = False
        self._open: tuple[int, int] | None = None  # times of a change whose event has not ended

    def events(self, record: dbn.MBOMsg) -> Iterator[Event]:
        if self._open is not None and not self._in_snapshot and self._is_later(record):
            yield self._end(*self._open)  # the mark was lost: an event does not outlast its moment
        yield from self._changes(record)
        if record.flags & _LAST_FLAG and self._open is not None:
            yield self._end(record.ts_event, record.ts_recv)

    def next_file(self) -> None:
        """A snapshot that opens the next file is another one."""
        self._in_snapshot = False

    def finish(self) -> Iterator[Event]:
        """End what the last record left open."""
        if self._open is not None:
            yield self._end(*self._open)

    def _is_later(self, record: dbn.MBOMsg) -> bool:
        assert self._open is not None
        return bool(record.ts_event > self._open[0] and record.ts_recv > self._open[1])

    def _changes(self, record: dbn.MBOMsg) -> Iterator[Event]:
        action, side = str(record.action), str(record.side)
        starts = bool(record.flags & _SNAPSHOT_FLAG) and not self._in_snapshot
        self._in_snapshot = bool(record.flags & _SNAPSHOT_FLAG)
        if starts or action == "R":
            self._orders.clear()
            yield self._update(record, 0, BID, 0, 0, reset=True)
        if action in ("R", "F", "N"):
            return
        if record.price == _UNDEFINED_PRICE:
            self._counts["no_price"] += 1
            return
        price = self._grid.ticks(record.price * _PRICE_UNIT)
        if price is None:
            return
        if action == "T":
            aggressor = _AGGRESSORS.get(side, NO_AGGRESSOR)
            if record.size:
                yield Trade(self._id, record.ts_event, record.ts_recv, price, record.size, aggressor)
        elif side not in _SIDES:
            self._counts["no_side"] += 1
        elif action in ("A", "C", "M"):
            yield from self._order(record, action, _SIDES[side], price)
        else:
            self._counts[f"action_{action}"] += 1

    def _end(self, ts_event: int, ts_recv: int) -> OrderUpdate:
        """The end of an event, at its own time: no order changes."""
        self._open = None
        return OrderUpdate(self._id, ts_event, ts_recv, 0, BID, 0, 0)

    def _order(self, record: dbn.MBOMsg, action: str, side: int, price: int) -> Iterator[Event]:
        oid = record.order_id
        known = self._orders.get(oid)
        if known is None and action in ("C", "M"):
            self._counts["unknown_order"] += 1
            if action == "C":
                return
        size = record.size
        if action == "C":
            size = max(0, known[2] - record.size) if known else 0
        if size:
            self._orders[oid] = (side, price, size)
        else:
            self._orders.pop(oid, None)
        yield self._update(record, oid, side, price, size)

    def _update(
        self, record: dbn.MBOMsg, oid: int, side: int, price: int, size: int, reset: bool = False
    ) -> OrderUpdate:
        last = bool(record.flags & _LAST_FLAG) and not reset
        self._open = None if last else (record.ts_event, record.ts_recv)
        return OrderUpdate(self._id, record.ts_event, record.ts_recv, oid, side, price, size, last, reset)


def _symbols(path: Path) -> dict[int, tuple[str, str]]:
    """Venue and symbol by instrument id."""
    meta = _metadata(path)
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


def _metadata(path: Path) -> dbn.Metadata:
    meta = next(_decoded(path), None)
    if not isinstance(meta, dbn.Metadata):
        raise DataError(f"{path}: not a sound DBN file (it has no metadata)")
    return meta


def _records(path: Path) -> Iterator[dbn.MBOMsg]:
    """Yield each order record; symbol mappings and messages of the gateway between them are left out."""
    return (record for record in _decoded(path) if isinstance(record, dbn.MBOMsg))


def _decoded(path: Path) -> Iterator[dbn.Metadata | dbn.MBOMsg]:
    """Yield the metadata, then each record, reading in chunks."""
    decoder = dbn.DBNDecoder()
    frames = _Frames(path)
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

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun = False
        self.rest = b""

    def take(self, chunk: bytes) -> bytes:
        """Bytes of the metadata and the order records that are whole by now."""
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
            if size < _HEADER or (data[at + 1] == _MBO and size not in _MBO_SIZES):
                raise DataError(f"{self._path}: not a sound DBN file (a record of {size} bytes)")
            if data[at + 1] != _MBO:
                kept.append(data[start:at])
                start = at + size
            at += size
        kept.append(data[start:at])
        self.rest = data[at:]
        return b"".join(kept)

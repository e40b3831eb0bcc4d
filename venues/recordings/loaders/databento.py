"""Databento files (DBN, plain or zstd): market by order here, levels and trades in `databento_levels`.

In market by order `T` is the trade as the aggressor saw it (its `side` is the aggressor's), `F` the fill of each
resting order; neither changes the book: a cancel or modify follows. Snapshot records open a file.
F_LAST ends an exchange's event, whichever record bears it, also one that changes no order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import databento_dbn as dbn

from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, Event, OrderUpdate, Trade
from venues.recordings.loaders.base import Recording, Traits
from venues.recordings.loaders.databento_file import LAST_FLAG, PRICE_UNIT, Record, metadata, records, schema, symbols
from venues.recordings.loaders.databento_levels import LevelStream
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.units import Grid
from venues.recordings.terms import RecordingTerms, no_terms

_SNAPSHOT_FLAG = 32
_SIDES = {"B": BID, "A": ASK}
_AGGRESSORS = {"B": BUY, "A": SELL}
_QUOTES_AT_TRADES = "best quotes as they stood before each trade only: what happened between trades is unknown"


class DatabentoLoader:
    """Files of one schema and symbol given together follow each other."""

    name = "databento"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return head.startswith("DBN")

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
        for path in paths:
            meta = metadata(path)
            groups.setdefault((schema(meta, path), ",".join(meta.symbols)), []).append((meta.start, path))
        return [
            Recording(self.name, tuple(path for _, path in sorted(files)), trades_alone=kind == "trades")
            for (kind, _), files in groups.items()
        ]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_events(recording, terms, findings), findings, recording.name)


def _events(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    streams: dict[str, _Stream | LevelStream] = {}
    publishers: dict[int, int] = {}
    for path in recording.files:
        names = symbols(path)
        by_id: dict[int, _Stream | LevelStream | None] = {}
        for known_stream in streams.values():
            known_stream.next_file()
        for record in records(path):
            known = record.instrument_id
            if known not in by_id:
                by_id[known] = _stream(names.get(known), record, path, terms, findings, streams)
            stream = by_id[known]
            if stream is None:
                findings.shared["unknown_instrument"] += 1
                continue
            if publishers.setdefault(known, record.publisher_id) != record.publisher_id:
                raise DataError(
                    f"{path}: it mixes the books of several venues (publisher_id {publishers[known]} and "
                    f"{record.publisher_id}); ask for one venue's dataset"
                )
            yield from stream.events(record)
        if not any(by_id.values()) and by_id:
            venue, symbol = next(iter(names.values()), ("", "its instruments"))
            raise no_terms(venue, symbol, path)
    for stream in streams.values():
        yield from stream.finish()


def _stream(
    named: tuple[str, str] | None,
    record: Record,
    path: Path,
    terms: RecordingTerms,
    findings: Findings,
    streams: dict[str, _Stream | LevelStream],
) -> _Stream | LevelStream | None:
    """The stream of an instrument; it goes on from file to file."""
    contract = terms.find(*named, record.ts_recv) if named is not None else None
    if contract is None:
        return None
    if contract.id not in streams:
        grid, kind = Grid(contract, findings.of(contract.id)), schema(metadata(path), path)
        streams[contract.id] = _Stream(grid) if kind == "mbo" else LevelStream(grid, kind)
        if kind == "tbbo":
            findings.note(contract.id, "tbbo", _QUOTES_AT_TRADES)
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
        if record.flags & LAST_FLAG and self._open is not None:
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
        if record.price == dbn.UNDEF_PRICE:
            self._counts["no_price"] += 1
            return
        price = self._grid.ticks(record.price * PRICE_UNIT)
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
        last = bool(record.flags & LAST_FLAG) and not reset
        self._open = None if last else (record.ts_event, record.ts_recv)
        return OrderUpdate(self._id, record.ts_event, record.ts_recv, oid, side, price, size, last, reset)

"""Rows of a mapping's files as events: which kind each row is, whose, and where messages end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from market.errors import DataError
from market.events import Event
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.mapping import Change, Columns, Instrument, Mapping, Order
from venues.recordings.loaders.mapping_rows import Changes, Orders, Prints, Snapshots, Stamp, Symbol, matches, reader
from venues.recordings.loaders.mapping_tables import Fields, Table
from venues.recordings.loaders.messages import next_message
from venues.recordings.loaders.units import Grid
from venues.recordings.terms import RecordingTerms

type _Reader = Snapshots | Changes | Orders | Prints

_NO_WHOLE_BOOK = "no row shows the whole book: what rested before the first row is missing until it changes"


class MappedStream:
    """Files of the same kinds of row, one after the other."""

    def __init__(self, mapping: Mapping, kinds: tuple[int, ...], terms: RecordingTerms, findings: Findings) -> None:
        self._mapping, self._kinds = mapping, [mapping.rows[i] for i in kinds]
        self._terms, self._findings = terms, findings
        self._symbols: dict[str, Symbol] = {}
        self._names: dict[str, str] = {}
        if isinstance(mapping.instrument, Instrument):
            self._names = {word.strip(): name for word, name in mapping.instrument.names.items()}
        self._key: object = None  # of the message of changes at hand

    def events(self, paths: list[Path]) -> Iterator[Event]:
        for path in sorted(paths, key=self._first_time) if len(paths) > 1 else paths:
            table, readers, columns = self._open(path)
            for fields in table.batches(columns):
                yield from self._batch(fields, readers, path)
        yield from self._end()

    def _open(self, path: Path) -> tuple[Table, list[_Reader], list[str]]:
        """A file, what reads its rows, and the columns they need."""
        table = Table(path, self._mapping.csv)
        readers: list[_Reader] = [reader(kind, table) for kind in self._kinds]
        time, instrument = self._mapping.time, self._mapping.instrument
        needed: dict[str, str] = {}
        for key, columns in (("time.arrival", time.arrival), ("time.exchange", time.exchange)):
            needed |= dict.fromkeys(_listed(columns), key)
        if isinstance(instrument, Instrument):
            needed[instrument.column] = "instrument"
        for kind, its in zip(self._kinds, readers, strict=True):
            needed |= {name: f"rows.{key}" for key, name in its.keys.items()}
            if kind.when is not None:
                needed[kind.when.column] = "rows.when"
        for name, key in needed.items():
            table.need(name, key)
        return table, readers, list(needed)

    def _first_time(self, path: Path) -> int:
        table, _, columns = self._open(path)
        for fields in table.batches(columns):
            chosen = [i for i, kind in enumerate(self._which(fields)) if kind >= 0][:1]
            if chosen:
                return self._stamps(fields.take(chosen))[0][1]
        return 0

    def _which(self, fields: Fields) -> list[int]:
        """Each row's kind: the first that fits; -1 for none."""
        which = [-1] * len(fields)
        for number, kind in reversed(list(enumerate(self._kinds))):
            fits = matches(fields, kind.when) if kind.when is not None else [True] * len(fields)
            which = [number if fit else had for fit, had in zip(fits, which, strict=True)]
        return which

    def _batch(self, fields: Fields, readers: list[_Reader], path: Path) -> Iterator[Event]:
        which = self._which(fields)
        if unknown := which.count(-1):
            self._findings.shared["row_of_no_kind"] += unknown
        words = self._words(fields)
        chosen = [i for i, kind in enumerate(which) if kind >= 0]
        if self._names:
            others = len(chosen)
            chosen = [i for i in chosen if words[i] in self._names]
            self._findings.shared["other_instrument"] += others - len(chosen)
        if not chosen:
            return
        of_kind = [[i for i in chosen if which[i] == number] for number in range(len(readers))]
        rows: list[Iterator[Any]] = [
            its.read(fields.take(places)) if places else iter(()) for its, places in zip(readers, of_kind, strict=True)
        ]
        for i, stamp in zip(chosen, self._stamps(fields.take(chosen)), strict=True):
            symbol = self._symbols.get(words[i])
            if symbol is None:
                symbol = self._symbols[words[i]] = self._add(words[i], stamp[1], path)
            yield from self._tell(readers[which[i]], symbol, next(rows[which[i]]), stamp)

    def _tell(self, its: _Reader, symbol: Symbol, row: Any, stamp: Stamp) -> Iterator[Event]:
        """A row's events, after those that it shows to be at their end."""
        match its:
            case Changes():
                *_, is_snapshot, group = row
                key = stamp if group is None else group
                if key != self._key:
                    yield from next_message(self._symbols.values(), symbol, is_snapshot, stamp[0])
                    self._key = key
                elif symbol.is_snapshot != is_snapshot:
                    yield from symbol.end_message()
            case Prints():
                if isinstance(self._key, tuple) and self._key != stamp:
                    yield from self._end()
                yield from symbol.end_group(stamp)
            case Snapshots():
                yield from self._end()
        yield from its.events(symbol, row, stamp)

    def _end(self) -> Iterator[Event]:
        """End the messages and groups at hand."""
        for symbol in self._symbols.values():
            yield from symbol.end_message()
            yield from symbol.flush()
            yield from symbol.end_group()
        self._key = None

    def _stamps(self, fields: Fields) -> list[Stamp]:
        time = self._mapping.time
        arrival, exchange = _listed(time.arrival), _listed(time.exchange)
        received = fields.times(arrival or exchange, time)
        told = fields.times(exchange, time) if arrival and exchange else received
        return list(zip(told, received, strict=True))

    def _words(self, fields: Fields) -> list[str]:
        """What each row calls its instrument."""
        instrument = self._mapping.instrument
        return [instrument] * len(fields) if isinstance(instrument, str) else fields.texts(instrument.column)

    def _add(self, word: str, ts: int, path: Path) -> Symbol:
        instrument = self._mapping.instrument
        name = self._names.get(word, word)
        if isinstance(instrument, Instrument) and instrument.exchange and not self._names:
            name = f"{word}.{instrument.exchange}"
        left, dot, right = name.rpartition(".")
        if not dot:
            raise DataError(f"{path}: {word!r} names no exchange; give it as `exchange` under `instrument`")
        find = self._terms.find
        contract = find(right, left, ts) or find(left, right, ts) or self._terms.need(right, left, ts, path)
        if any(isinstance(kind, Order) or (isinstance(kind, Change) and not kind.snapshot) for kind in self._kinds):
            self._findings.note(contract.id, "whole", _NO_WHOLE_BOOK)
        known = (symbol for symbol in self._symbols.values() if symbol.id == contract.id)
        return next(known, None) or Symbol(Grid(contract, self._findings.of(contract.id)))


def _listed(columns: Columns | None) -> list[str]:
    return [] if columns is None else [columns] if isinstance(columns, str) else columns

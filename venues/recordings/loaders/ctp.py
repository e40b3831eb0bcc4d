"""Chinese futures: CTP market-data snapshots every 250–500 ms, 1 or 5 levels, three column dialects.

What the columns hold is read here; when a row was (`ctp_time`) and what traded (`ctp_stream`) lie
beside it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from market.errors import DataError
from market.events import Event
from market.sessions import NS_PER_S, SessionClock
from venues.recordings.loaders.base import Recording, Rows, Traits, head
from venues.recordings.loaders.ctp_stream import CtpStream
from venues.recordings.loaders.ctp_time import Row, place
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms, as_date

_NO_PRICE = 1e300  # CTP writes DBL_MAX where there is no price
_MS = 1_000_000

type _Side = list[tuple[float, float]]


class _Dialect(msgspec.Struct, frozen=True):
    marks: tuple[str, ...]
    price: str
    volume: str
    parse: Callable[[Rows, _Side, _Side], Row]


def _ctp_row(rows: Rows, bids: _Side, asks: _Side) -> Row:
    day = rows.integer("TradingDay")
    return Row(
        exchange=rows.text("ExchangeID") if "ExchangeID" in rows.columns else "",
        symbol=rows.text("InstrumentID"),
        day=day,
        action_day=rows.text("ActionDay") or str(day),
        clock_ns=_clock_ns(rows),
        last=_price(rows, "LastPrice"),
        volume=rows.optional("Volume"),
        turnover=rows.optional("Turnover"),
        bids=bids,
        asks=asks,
        where=(rows.path, rows.line),
    )


def _tqsdk_row(rows: Rows, bids: _Side, asks: _Side) -> Row:
    exchange, _, symbol = rows.text("symbol").partition(".")
    return Row(
        exchange=exchange,
        symbol=symbol,
        ts=rows.time("datetime"),
        last=_price(rows, "last_price"),
        volume=rows.optional("volume"),
        turnover=rows.optional("amount"),
        bids=bids,
        asks=asks,
        where=(rows.path, rows.line),
    )


def _price(rows: Rows, name: str) -> float | None:
    value = rows.optional(name)
    return None if value is None or value > _NO_PRICE else value


def _clock_ns(rows: Rows) -> int:
    time = rows.text("UpdateTime")
    try:
        hours, minutes, seconds = int(time[:2]), int(time[3:5]), int(time[6:])
        if len(time) != 8 or not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 61):
            raise ValueError
    except ValueError as error:
        raise rows.error("UpdateTime", "a time HH:MM:SS") from error
    millis = rows.integer("UpdateMillisec")
    if not 0 <= millis < 1_000:
        raise rows.error("UpdateMillisec", "a number of milliseconds")
    return (hours * 3_600 + minutes * 60 + seconds) * NS_PER_S + millis * _MS


_DIALECTS = {
    "ctp": _Dialect(("TradingDay", "UpdateMillisec", "BidPrice1"), "{}Price{}", "{}Volume{}", _ctp_row),
    "tqsdk": _Dialect(("symbol", "datetime", "bid_price1"), "{}_price{}", "{}_volume{}", _tqsdk_row),
}


class CtpLoader:
    """CTP snapshots: the struct's field names (with or without ExchangeID) and tqsdk's."""

    name = "ctp"
    traits = Traits(snapshots=True)

    def recognises(self, path: Path, head: str) -> bool:
        return _dialect(head.split("\n", 1)[0]) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        """Files of one instrument and trading day (a night and a day file) are one recording."""
        groups: dict[tuple[str, str], list[tuple[str, Path]]] = {}
        for path in sorted(paths):
            identity, first = _identity(path)
            groups.setdefault(identity, []).append((first, path))
        return [Recording(self.name, tuple(path for _, path in sorted(files))) for files in groups.values()]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        streams: dict[tuple[str, str], CtpStream | None] = {}
        for path in recording.files:
            for row in _rows(path):
                key = (row.exchange, row.symbol)
                if key not in streams:
                    streams[key] = _stream(row, terms, findings)
                stream = streams[key]
                if stream is None:
                    findings.shared["unknown_instrument"] += 1
                else:
                    yield from stream.events(row)
        for stream in streams.values():
            if stream is not None:
                yield from stream.finish()


def _stream(row: Row, terms: RecordingTerms, findings: Findings) -> CtpStream | None:
    """The stream of a row's instrument: exchange and sessions as of its day column, terms as of its true day."""
    date = dt.datetime.fromtimestamp(row.ts // NS_PER_S, dt.UTC).date() if row.ts else as_date(row.day)
    listed = terms.peek(row.exchange or None, row.symbol, date)
    if listed is None:
        return None
    ts, day = place(row, listed.exchange, SessionClock(listed.sessions))
    contract = terms.find(listed.exchange, row.symbol, ts, day)
    return CtpStream(contract, findings) if contract is not None else None


def _rows(path: Path) -> Iterator[Row]:
    rows = Rows(path)
    dialect = None
    for _ in rows:
        if dialect is None:
            dialect = _dialect(",".join(rows.columns))
            if dialect is None:
                raise DataError(f"{path}: no column dialect of CTP snapshots; first columns {list(rows.columns)[:4]}")
            bid_names, ask_names = _level_names(dialect, rows)
        yield dialect.parse(rows, _shown(rows, bid_names), _shown(rows, ask_names))


def _shown(rows: Rows, names: list[tuple[str, str]]) -> _Side:
    """Prices and sizes of one side as (price, size), best first; (0, 0) where there is no level."""
    shown = []
    for price_name, size_name in names:
        price, size = rows.optional(price_name), rows.optional(size_name)
        if size is not None and size > 0 and price is None and rows.text(price_name).strip():
            raise rows.error(price_name, "a number")
        shown.append((0.0, 0.0) if price is None or size is None or price > _NO_PRICE else (price, size))
    return shown


def _level_names(dialect: _Dialect, rows: Rows) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    sides = ("Bid", "Ask") if "BidPrice1" in rows.columns else ("bid", "ask")
    names: list[list[tuple[str, str]]] = []
    for side in sides:
        pairs = [(dialect.price.format(side, i), dialect.volume.format(side, i)) for i in range(1, 6)]
        found = [pair for pair in pairs if pair[0] in rows.columns]
        rows.require([name for pair in found for name in pair])
        names.append(found)
    return names[0], names[1]


def _dialect(header: str) -> _Dialect | None:
    columns = {name.strip() for name in header.split(",")}
    return next((d for d in _DIALECTS.values() if columns.issuperset(d.marks)), None)


def _identity(path: Path) -> tuple[tuple[str, str], str]:
    """Instrument and trading day of a file's first row, and when that row was: read without judging it."""
    header, _, rest = head(path).partition("\n")
    fields = dict(zip(header.strip().split(","), rest.partition("\n")[0].strip().split(","), strict=False))
    if "datetime" in fields:
        return (path.name, fields["datetime"]), ""
    time, day = fields.get("UpdateTime", ""), fields.get("TradingDay", path.name)
    date = fields.get("ActionDay") or day
    if time >= "18" and date == day:  # one of the two is not what it says: the night comes first
        return (fields.get("InstrumentID", path.name), f"{day} night"), time
    return (fields.get("InstrumentID", path.name), day), f"{date} {time}"

"""Chinese futures: CTP market-data snapshots every 250–500 ms, 1 or 5 levels, three column dialects.

The feed has no trades. Between two rows ΔVolume lots traded at the average price
ΔTurnover / (ΔVolume x multiplier); they are split over the two ticks around that average, so that
volume and turnover are kept. Who was aggressor shows against the PREVIOUS row's quote.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, Level, Trade
from market.sessions import NS_PER_S, SessionClock, local_ns
from venues.recordings.loaders.base import ArrivalOrder, Recording, Rows, Traits, head

STALE_NS = 5 * NS_PER_S
"""Over a longer gap nobody knows when and where volume traded: it is dropped, not interpolated."""

_SHANGHAI = ZoneInfo("Asia/Shanghai")
_NO_PRICE = 1e300  # CTP writes DBL_MAX where there is no price
_NIGHT_HOUR = 18
_PLAUSIBLE_TICKS = 3  # an interval's average may lie this far, and its range, outside what two rows show


class Row(msgspec.Struct, frozen=True):
    """One row in common terms; prices as written, volume and turnover cumulative for the day."""

    exchange: str | None
    symbol: str
    ts: int
    day: int
    last: float
    volume: float
    turnover: float
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class _Dialect(msgspec.Struct, frozen=True):
    marks: tuple[str, ...]
    price: str
    volume: str
    parse: Callable[[Rows, list[tuple[float, float]], list[tuple[float, float]]], Row]


def _ctp_row(rows: Rows, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> Row:
    exchange = rows.text("ExchangeID") if "ExchangeID" in rows.columns else None
    day = rows.integer("TradingDay")
    return Row(
        exchange=exchange or None,
        symbol=rows.text("InstrumentID"),
        ts=_time_ns(rows, exchange, day),
        day=day,
        last=rows.number("LastPrice"),
        volume=rows.number("Volume"),
        turnover=rows.number("Turnover"),
        bids=bids,
        asks=asks,
    )


def _tqsdk_row(rows: Rows, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> Row:
    exchange, _, symbol = rows.text("symbol").partition(".")
    return Row(
        exchange=exchange,
        symbol=symbol,
        ts=rows.integer("datetime"),
        day=0,
        last=rows.number("last_price"),
        volume=rows.number("volume"),
        turnover=rows.number("amount"),
        bids=bids,
        asks=asks,
    )


def _time_ns(rows: Rows, exchange: str | None, trading_day: int) -> int:
    """Exchange time. DCE writes the trading day as ActionDay at night: step back to the weekday before."""
    time, date = rows.text("UpdateTime"), rows.text("ActionDay") or str(trading_day)
    try:
        hours, minutes, seconds = int(time[:2]), int(time[3:5]), int(time[6:])
        if len(time) != 8 or not (hours < 24 and minutes < 60 and seconds < 61):
            raise ValueError
        is_dce_night = exchange == "DCE" and hours >= _NIGHT_HOUR and date == str(trading_day)
        midnight = _midnight_ns(date, is_dce_night)
    except ValueError as error:
        raise rows.error("UpdateTime", "a time HH:MM:SS with an ActionDay YYYYMMDD") from error
    millis = rows.integer("UpdateMillisec")
    return midnight + (hours * 3_600 + minutes * 60 + seconds) * NS_PER_S + millis * 1_000_000


@cache
def _midnight_ns(date: str, weekday_before: bool) -> int:
    day = dt.datetime.strptime(date, "%Y%m%d")
    if weekday_before:
        day -= dt.timedelta(days=3 if day.weekday() == 0 else 1)
    return local_ns(day, _SHANGHAI)


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
        groups: dict[tuple[str, ...], list[Path]] = {}
        for path in sorted(paths):
            groups.setdefault(_identity(path), []).append(path)
        return [Recording(self.name, tuple(files)) for files in groups.values()]

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        streams: dict[str, _Stream | None] = {}
        for path in recording.files:
            for row, where in _rows(path):
                if row.symbol not in streams:
                    contract = contracts.find(row.exchange, row.symbol, _date(row))
                    streams[row.symbol] = _Stream(contract) if contract else None
                stream = streams[row.symbol]
                if stream is None:
                    drops["unknown_instrument"] += 1
                else:
                    yield from stream.events(row, where, drops)


class _Stream:
    """Turns one instrument's rows into trades and snapshots."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._clock = SessionClock(contract.sessions)
        self._order = ArrivalOrder()
        self._previous: Row | None = None

    def events(self, row: Row, where: str, drops: Counter[str]) -> Iterator[Event]:
        if row.last == 0 or row.volume == 0:
            drops["warm_up"] += 1
            return
        if not self._clock.is_open(row.ts):  # before the order of time: stale rows of another session come first
            drops["outside_session"] += 1
            return
        if not self._order.admits(row.ts, where):
            drops["out_of_order"] += 1
            return
        levels = self._levels(row)
        if levels is None:
            drops["off_tick"] += 1
            return
        if not levels:
            drops["no_quote"] += 1
            return
        bids = [price for side, price, _ in levels if side == BID]
        asks = [price for side, price, _ in levels if side == ASK]
        if bids and asks and max(bids) >= min(asks):
            drops["crossed"] += 1
            return
        yield from self._trades(row, drops)
        self._previous = row
        depth = max(len(row.bids), len(row.asks))
        yield BookUpdate(self._contract.id, row.ts, row.ts, levels, snapshot=True, depth=depth, day=row.day)

    def _levels(self, row: Row) -> list[Level] | None:
        levels: list[Level] = []
        for side, shown in ((BID, row.bids), (ASK, row.asks)):
            for price, size in shown:
                if size <= 0 or price <= 0 or price > _NO_PRICE:
                    continue
                ticks, lots = self._contract.ticks(price), self._contract.lots(size)
                if ticks is None or lots is None:
                    return None
                levels.append((side, ticks, lots))
        return levels

    def _trades(self, row: Row, drops: Counter[str]) -> Iterator[Trade]:
        before = self._previous
        if before is None:
            return  # the first row's volume is the whole day's so far
        volume = row.volume - before.volume
        if volume < 0:
            drops["volume_fell"] += 1
            return
        if volume == 0:
            return
        if row.ts - before.ts > STALE_NS:
            drops["volume_across_gap"] += 1
            return
        for price, lots in split_interval(self._average_ticks(row, before, volume, drops), round(volume)):
            side = self._aggressor(price, before)
            yield Trade(self._contract.id, row.ts, row.ts, price, lots, side, day=row.day)

    def _average_ticks(self, row: Row, before: Row, volume: float, drops: Counter[str]) -> float:
        """Average price of the interval, in ticks.

        CZCE's turnover leaves the multiplier out on some feeds and on others is volume times the
        DAY's average price, whose difference means nothing: an average that lies away from both
        rows' quotes and last prices is not believed, all volume then prints at the last price.
        """
        seen = [row.last, before.last]
        seen += [price for r in (row, before) for price, size in (*r.bids[:1], *r.asks[:1]) if size > 0]
        low, high = min(seen), max(seen)
        slack = (high - low) + _PLAUSIBLE_TICKS * self._contract.tick
        paid = (row.turnover - before.turnover) / volume
        for scale in (float(self._contract.terms.multiplier), 1.0):
            if low - slack <= paid / scale <= high + slack:
                return paid / scale / self._contract.tick
        drops["turnover_mismatch"] += 1
        return row.last / self._contract.tick

    def _aggressor(self, price_ticks: int, before: Row) -> int:
        """Who crossed the previous row's spread: above its mid the buyer, below it the seller."""
        bids = [self._contract.ticks(p) for p, size in before.bids[:1] if size > 0]
        asks = [self._contract.ticks(p) for p, size in before.asks[:1] if size > 0]
        bid, ask = (bids or [None])[0], (asks or [None])[0]
        if ask is None:
            return SELL if bid is not None and price_ticks <= bid else NO_AGGRESSOR
        if bid is None:
            return BUY if price_ticks >= ask else NO_AGGRESSOR
        side = 2 * price_ticks - bid - ask
        return BUY if side > 0 else SELL if side < 0 else NO_AGGRESSOR


def split_interval(average_ticks: float, lots: int) -> list[tuple[int, int]]:
    """Split an interval's volume over the two ticks around its average price.

    Returns (price in ticks, lots), zero lots left out; volume is kept exactly and turnover to
    the lot that rounding leaves.
    """
    low = math.floor(average_ticks + 1e-9)
    high_lots = round(lots * (average_ticks - low))
    return [(p, n) for p, n in ((low, lots - high_lots), (low + 1, high_lots)) if n > 0]


def _rows(path: Path) -> Iterator[tuple[Row, str]]:
    rows = Rows(path)
    dialect = None
    for _ in rows:
        if dialect is None:
            dialect = _dialect(",".join(rows.columns))
            if dialect is None:
                raise DataError(f"{path}: no column dialect of CTP snapshots; first columns {list(rows.columns)[:4]}")
            names = _level_names(dialect, rows)
        bids, asks = ([(rows.number(p), rows.number(v)) for p, v in side] for side in names)
        yield dialect.parse(rows, bids, asks), f"{path}, line {rows.line}"


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


def _identity(path: Path) -> tuple[str, ...]:
    """Instrument and trading day of the first row, read without judging the file."""
    header, _, rest = head(path).partition("\n")
    fields = dict(zip(header.strip().split(","), rest.partition("\n")[0].strip().split(","), strict=False))
    if "datetime" in fields:
        return path.name, fields["datetime"]
    return fields.get("InstrumentID", path.name), fields.get("TradingDay", path.name)


def _date(row: Row) -> dt.date:
    return dt.datetime.fromtimestamp(row.ts / 1e9, _SHANGHAI).date()

"""A catalog day as a file of hftbacktest (2.4): what it is judged by there is `validate_event_order`.

Events of the exchange's side are in order of its clock, those of the local side in order of arrival: where the two
clocks disagree, an event stands twice. No event may arrive before it happens, else a strategy there would see
the future: if the exchange's clock runs ahead, its times are set back, all by the same (`correct_local_timestamp` moves
the other clock; here arrival is what is trusted). Of orders (L3) the sequence is the truth: none may be deleted before
it was added, so that an exchange's time that runs backwards is held; likewise a whole book comes before all that
arrived after it. The same day gives the same bytes.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from market.contracts import Contract
from market.events import ASK, BID, BUY, SELL
from market.files import written_beside
from venues.recordings.catalog import Catalog, Day
from venues.recordings.loaders.hftbacktest_file import (
    ADD,
    ARRAY,
    BUY_EVENT,
    CANCEL,
    CLEAR,
    DEPTH,
    EVENT,
    EXCHANGE_EVENT,
    FILL,
    KIND,
    LOCAL_EVENT,
    MODIFY,
    NOTE,
    SELL_EVENT,
    SNAPSHOT,
    TRADE,
    Note,
)
from venues.recordings.moments import Moment, moments

_ROWS = 65_536
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # the zip format's first time: members bear no other
_SIDES = {BID: BUY_EVENT, ASK: SELL_EVENT}
_TAKES = {BUY: BUY_EVENT, SELL: SELL_EVENT}
_RESTED = {BUY: ASK, SELL: BID}

type _Row = tuple[int, int, int, int, int, int]
"""Event, exchange time, arrival, price in ticks, lots, order id."""


class Exported(msgspec.Struct, frozen=True):
    """What was written: rows, and by how much the exchange's times were set back (ns)."""

    path: str
    day: Day
    rows: int
    exchange_ahead_ns: int


def export_hftbacktest(catalog: Catalog, day: Day, path: Path) -> Exported:
    """Write a day; the file is whole or not there.

    Memory is some 50 bytes a row: their times are sorted by two clocks.
    """
    contract = catalog.contract(day)
    with tempfile.TemporaryFile(dir=path.parent) as rows:
        times = [_write(rows, batch, contract) for batch in _batches(catalog, day)]
        told, local, is_whole = (np.concatenate(parts) for parts in zip(*times, strict=True))
        exchange, ahead = _exchange_times(told, local, is_whole, day.orders)
        del times, told, local, is_whole
        once = _stand_once(exchange)
        count = 2 * len(once) - int(once.sum())
        events = np.memmap(rows, EVENT, "r")
        with written_beside(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as out:
            with out.open(_member(ARRAY), "w", force_zip64=True) as member:
                header = {"descr": EVENT.descr, "fortran_order": False, "shape": (count,)}
                np.lib.format.write_array_header_1_0(member, header)
                for block in _blocks(once):
                    moved = exchange[block]
                    places, sides = _in_order(moved)
                    part = events[block][places]
                    part["ev"] |= sides
                    part["ival"] = part["exch_ts"] - moved[places]
                    part["exch_ts"] = moved[places]
                    member.write(part.tobytes())
            out.writestr(_member(NOTE), msgspec.json.encode(Note(day.instrument, day.depth)))
        del events
    return Exported(str(path), day, count, ahead)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _BEGINNING)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _write(out: IO[bytes], rows: list[_Row], contract: Contract) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Append rows; return their exchange and arrival times, and which are of a whole book."""
    columns = np.array(rows, np.int64)
    events = np.zeros(len(rows), EVENT)
    events["ev"], events["exch_ts"], events["local_ts"] = columns[:, 0], columns[:, 1], columns[:, 2]
    events["px"] = np.round(columns[:, 3] * contract.tick, contract.price_precision)
    events["qty"] = np.round(columns[:, 4] * contract.lot, contract.size_precision)
    events["order_id"] = columns[:, 5]
    out.write(events.tobytes())
    return columns[:, 1].copy(), columns[:, 2].copy(), np.isin(columns[:, 0] & KIND, (CLEAR, SNAPSHOT))


def _exchange_times(
    told: NDArray[np.int64], local: NDArray[np.int64], is_whole: NDArray[np.bool_], is_of_orders: bool
) -> tuple[NDArray[np.int64], int]:
    """When rows are to happen at the exchange, and by how much its clock ran ahead."""
    ahead = max(0, int((told - local).max()))
    placed = np.where(is_whole, _earliest_from(told), told)
    if is_of_orders:
        placed = np.maximum.accumulate(placed)
    placed -= ahead
    return np.minimum(placed, local, out=placed), ahead


def _earliest_from(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The earliest of each time and those after it."""
    return np.minimum.accumulate(times[::-1])[::-1]


def _stand_once(exchange: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows no other passes on the way; `exchange` are their times in order of arrival."""
    once: NDArray[np.bool_] = (np.maximum.accumulate(exchange) == exchange) & (_earliest_from(exchange) == exchange)
    return once


def _blocks(once: NDArray[np.bool_]) -> Iterator[slice]:
    """Some rows at a time, which can be put into order apart from the others."""
    first, size = 0, len(once)
    while first < size:
        last = min(first + _ROWS, size)
        while last < size and not once[last]:
            last += 1
        yield slice(first, last)
        first = last


def _in_order(exchange: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Places of rows in the file, and whose side each is for; `exchange` are their times in order of arrival.

    Between two rows that stand once, the exchange's come first in the order of its clock, then the local ones.
    """
    once = _stand_once(exchange)
    stretch = np.cumsum(once)
    twice = np.flatnonzero(~once)
    by_exchange = twice[np.argsort(exchange[twice], kind="stable")]
    places = np.concatenate([np.flatnonzero(once), by_exchange, twice])
    phase = np.repeat(np.array([0, 1, 2]), [len(once) - len(twice), len(twice), len(twice)])
    both = np.array([EXCHANGE_EVENT | LOCAL_EVENT, EXCHANGE_EVENT, LOCAL_EVENT], np.uint64)
    order = np.lexsort((phase, stretch[places]))
    return places[order], both[phase[order]]


def _batches(catalog: Catalog, day: Day) -> Iterator[list[_Row]]:
    orders = _Orders() if day.orders else None
    rows: list[_Row] = []
    for moment in moments(catalog, day, with_owners=day.orders):
        rows += _of_levels(moment) if orders is None else orders.of(moment)
        if len(rows) >= _ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _of_levels(moment: Moment) -> list[_Row]:
    times = moment.ts_event, moment.ts
    if moment.trade is not None:
        return [_trade(moment)]
    kind, rows = DEPTH, list[_Row]()
    for side, price, lots in moment.changes:
        if side == 0:
            kind, rows = SNAPSHOT, [(CLEAR, *times, 0, 0, 0)]
        else:
            rows.append((kind | _SIDES[side], *times, price, lots, 0))
    return rows


def _trade(moment: Moment) -> _Row:
    assert moment.trade is not None
    price, lots, side = moment.trade
    return (TRADE | _TAKES.get(side, 0), moment.ts_event, moment.ts, price, lots, 0)


class _Orders:
    """Orders read off the steps of their levels (L3)."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[int, int], int] = {}
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._traded: dict[tuple[int, int], int] = {}  # lots that orders at a price have still to lose by trades

    def of(self, moment: Moment) -> list[_Row]:
        """A moment's rows."""
        if moment.trade is not None:
            price, lots, side = moment.trade
            if side in _RESTED:
                key = (_RESTED[side], price)
                self._traded[key] = self._traded.get(key, 0) + lots
            return [_trade(moment)]
        times, rows, owners = (moment.ts_event, moment.ts), list[_Row](), iter(moment.owners)
        for side, price, size in moment.changes:
            if side == 0:
                self._sizes.clear()
                self._orders.clear()
                rows = [(CLEAR, *times, 0, 0, 0)]
                continue
            owner = next(owners)
            if owner:
                rows += self._step(side, price, size, owner, times)
            else:  # the level is emptied
                gone = [order for order, place in self._orders.items() if place[:2] == (side, price)]
                rows += [(CANCEL | _SIDES[side], *times, price, self._orders.pop(order)[2], order) for order in gone]
            self._sizes[side, price] = size
        self._traded.clear()
        return rows

    def _step(self, side: int, price: int, size: int, order: int, times: tuple[int, int]) -> list[_Row]:
        step, flag = size - self._sizes.get((side, price), 0), _SIDES[side]
        known = self._orders.get(order, (side, price, 0))[2]
        rows: list[_Row] = []
        filled = min(-step, self._traded.get((side, price), 0)) if step < 0 else 0
        if filled:
            self._traded[side, price] -= filled
            rows.append((FILL | flag, *times, price, filled, order))
        if known + step > 0:
            self._orders[order] = (side, price, known + step)
            rows.append(((MODIFY if known else ADD) | flag, *times, price, known + step, order))
        else:
            self._orders.pop(order, None)
            rows.append((CANCEL | flag, *times, price, known, order))
        return rows

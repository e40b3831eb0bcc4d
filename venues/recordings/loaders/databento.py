"""Databento market-by-order files (DBN, plain or zstd), decoded by Databento's own library.

`T` is the trade as the aggressor saw it (its `side` is the aggressor's), `F` the fill of each
resting order; neither changes the book: a cancel or modify follows. Snapshot records open a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import databento_dbn as dbn

from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, Event, OrderUpdate, Trade
from venues.recordings.loaders.base import ArrivalOrder, Recording, Traits, open_binary

_CHUNK = 1 << 20
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
            meta = next(_records(path))
            if str(meta.schema) != "mbo":
                raise DataError(f"{path}: schema {meta.schema} is not read yet; market-by-order (mbo) is")
            groups.setdefault(",".join(meta.symbols), []).append((meta.start, path))
        return [Recording(self.name, tuple(p for _, p in sorted(files))) for files in groups.values()]

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        order = ArrivalOrder()
        for path in recording.files:
            records = _records(path)
            meta = next(records)
            streams = _streams(meta, contracts, path)
            for record in records:
                stream = streams.get(record.instrument_id)
                if stream is None:
                    drops["unknown_instrument"] += 1
                elif not order.admits(record.ts_recv, str(path)):
                    drops["out_of_order"] += 1
                else:
                    yield from stream.events(record, drops)


class _Stream:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._in_snapshot = False

    def events(self, record: dbn.MBOMsg, drops: Counter[str]) -> Iterator[Event]:
        action, side = str(record.action), str(record.side)
        starts = bool(record.flags & _SNAPSHOT_FLAG) and not self._in_snapshot
        self._in_snapshot = bool(record.flags & _SNAPSHOT_FLAG)
        if starts or action == "R":
            self._orders.clear()
            yield self._update(record, 0, BID, 0, 0, reset=True)
        if action in ("R", "F", "N"):
            return
        price = None
        if record.price != _UNDEFINED_PRICE:
            price = self._contract.ticks(record.price * _PRICE_UNIT)
        if price is None:
            drops["off_tick"] += 1
        elif action == "T":
            aggressor = _AGGRESSORS.get(side, NO_AGGRESSOR)
            yield Trade(self._contract.id, record.ts_event, record.ts_recv, price, record.size, aggressor)
        elif side not in _SIDES:
            drops["no_side"] += 1
        else:
            yield from self._order(record, action, _SIDES[side], price, drops)

    def _order(self, record: dbn.MBOMsg, action: str, side: int, price: int, drops: Counter[str]) -> Iterator[Event]:
        oid = record.order_id
        known = self._orders.get(oid)
        if known is None and action in ("C", "M"):
            drops["unknown_order"] += 1
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
        return OrderUpdate(self._contract.id, record.ts_event, record.ts_recv, oid, side, price, size, last, reset)


def _streams(meta: dbn.Metadata, contracts: ContractTable, path: Path) -> dict[int, _Stream]:
    venue = str(meta.dataset).partition(".")[0]
    streams = {}
    for symbol, intervals in meta.mappings.items():
        contract = contracts.find(venue, _four_digit(symbol, meta.start))
        if contract is None:
            raise DataError(f"{path}: no contract terms for {symbol} on {venue}; add a row for it")
        streams.update({int(interval["symbol"]): _Stream(contract) for interval in intervals})
    return streams


def _four_digit(symbol: str, start_ns: int) -> str:
    """CME's `ESH4` as `ES2403`, the form of the contract table's futures codes."""
    months = "FGHJKMNQUVXZ"
    if len(symbol) < 3 or symbol[-2] not in months or not symbol[-1].isdigit():
        return symbol
    year = 1970 + int(start_ns / 31_556_952e9)
    decade = year - year % 10 + int(symbol[-1])
    decade += 10 if decade < year - 1 else 0
    return f"{symbol[:-2]}{decade % 100:02d}{months.index(symbol[-2]) + 1:02d}"


def _records(path: Path) -> Iterator[dbn.MBOMsg]:
    """Yield the metadata, then each record, reading in chunks."""
    decoder = dbn.DBNDecoder()
    with open_binary(path) as raw:
        while chunk := raw.read(_CHUNK):
            try:
                decoder.write(chunk)
                yield from decoder.decode()
            except dbn.DBNError as error:
                raise DataError(f"{path}: not a sound DBN file ({error})") from error
        if decoder.buffer():
            raise DataError(f"{path}: the file ends within a record; copy it again")

"""Book changes and trades as the Parquet files that Nautilus' `ParquetDataCatalog` writes, made from columns.

Schema, metadata, encodings and names are Nautilus 2.0.0rc7's: its queries read these files as they read its own.
Prices and sizes are integers of its fixed point, as decimals of 38 digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market.columns import BOOK, TRADE, Columns
from market.compiled import allocating
from market.contracts import Contract
from market.events import BID
from market.nautilus import LAST, Instrument
from venues.recordings.catalog import staged_name

_CLEARS = 32  # RecordFlag.F_SNAPSHOT, as `OrderBookDelta.clear` bears it
_ACTIONS = ("CLEAR", "UPDATE", "DELETE")
_SIDES = ("NO_ORDER_SIDE", "BUY", "SELL")
_AGGRESSORS = ("NO_AGGRESSOR", "BUY", "SELL")
_DECIMAL, _TIME, _WORD = pa.decimal128(38, 16), pa.timestamp("ns", tz="UTC"), pa.dictionary(pa.int8(), pa.string())
_U32 = np.uint64(32)
_LOW = np.uint64(0xFFFF_FFFF)


def _field(name: str, kind: Any, nullable: bool = False) -> Any:
    return pa.field(name, kind, nullable)


_STAMPS = [_field("ts_event", _TIME), _field("ts_init", _TIME)]
_DELTAS = [
    _field("action", _WORD), _field("side", _WORD), _field("price", _DECIMAL, True), _field("size", _DECIMAL, True),
    _field("order_id", pa.uint64()), _field("flags", pa.uint8()), _field("sequence", pa.uint64()), *_STAMPS,
]  # fmt: skip
_TRADES = [
    _field("price", _DECIMAL), _field("size", _DECIMAL), _field("aggressor_side", _WORD),
    _field("trade_id", pa.string()), *_STAMPS,
]  # fmt: skip


class NautilusFiles:
    """Writes files of one instrument into a staging folder."""

    def __init__(self, contract: Contract, folder: Path) -> None:
        self._units, self._folder = Instrument(contract), folder
        self._metadata = {
            "instrument_id": contract.id,
            "price_precision": str(contract.price_precision),
            "size_precision": str(contract.size_precision),
        }

    def write(self, batch: Columns) -> None:
        """Write a batch: a file of deltas and one of trades, where it has any.

        Raises
        ------
        DataError
            A price or size is more than Nautilus can hold.

        """
        for extreme in (int(batch.price.min()), int(batch.price.max())):
            self._units.price(extreme)
        for extreme in (int(batch.size.min()), int(batch.size.max())):
            self._units.quantity(extreme)
        if (batch.kind == BOOK).any():
            self._deltas(batch)
        if (batch.kind == TRADE).any():
            self._trades(batch)

    def _deltas(self, c: Columns) -> None:
        m = int(c.clear.sum()) + int(np.diff(c.first)[c.kind == BOOK].sum())
        action, side, flags = (np.empty(m, kind) for kind in (np.int8, np.int8, np.uint8))
        price, size = np.empty((m, 2), np.uint64), np.empty((m, 2), np.uint64)
        order, sequence, ts_event, ts_init = (np.empty(m, np.int64) for _ in range(4))
        _expand(
            c, _halves(self._units.tick_raw), _halves(self._units.lot_raw),
            (action, side, price, size, order, flags, sequence, ts_event, ts_init),
        )  # fmt: skip
        values = [
            _words(action, _ACTIONS), _words(side, _SIDES), _plain(price, _DECIMAL), _plain(size, _DECIMAL),
            _plain(order, pa.uint64()), _plain(flags, pa.uint8()), _plain(sequence, pa.uint64()),
            _plain(ts_event, _TIME), _plain(ts_init, _TIME),
        ]  # fmt: skip
        words = ["action", "side", "order_id", "flags", "sequence"]
        self._write("order_book_deltas", "OrderBookDelta", _DELTAS, values, words, ts_init)

    def _trades(self, c: Columns) -> None:
        trades = c.kind == TRADE
        rows = c.first[:-1][trades]
        price, size = np.empty((len(rows), 2), np.uint64), np.empty((len(rows), 2), np.uint64)
        _scale(c.price[rows], _halves(self._units.tick_raw), price)
        _scale(c.size[rows], _halves(self._units.lot_raw), size)
        ts_init = c.ts[trades]
        values = [
            _plain(price, _DECIMAL), _plain(size, _DECIMAL), _words(c.side[rows], _AGGRESSORS),
            _plain(c.sequence[trades], pa.int64()).cast(pa.string()), _plain(c.ts_event[trades], _TIME),
            _plain(ts_init, _TIME),
        ]  # fmt: skip
        self._write("trades", "TradeTick", _TRADES, values, ["aggressor_side", "trade_id"], ts_init)

    def _write(
        self, kind: str, name: str, fields: list[Any], values: list[Any], words: list[str], ts: NDArray[np.int64]
    ) -> None:
        schema = pa.schema(fields, self._metadata | {"type_name": name})
        pq.write_table(
            pa.Table.from_arrays(values, schema=schema),
            self._folder / staged_name(kind, int(ts[0]), int(ts[-1])),
            compression="zstd",
            use_dictionary=words,
            column_encoding=dict.fromkeys(("ts_event", "ts_init"), "DELTA_BINARY_PACKED"),
        )


def _halves(raw: int) -> NDArray[np.uint64]:
    """Lower and upper 64 bits."""
    return np.array([raw & 0xFFFF_FFFF_FFFF_FFFF, raw >> 64], np.uint64)


def _plain(values: NDArray[Any], kind: Any) -> Any:
    """Arrow's array over the same memory; `pa.array` would import pandas first."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _words(codes: NDArray[Any], names: tuple[str, ...]) -> Any:
    ends = np.cumsum([0, *map(len, names)], dtype=np.int32)
    told = pa.StringArray.from_buffers(len(names), pa.py_buffer(ends), pa.py_buffer("".join(names).encode()))
    return pa.DictionaryArray.from_arrays(_plain(codes, pa.int8()), told)


@allocating
def _times(value, raw, out):  # type: ignore[no-untyped-def]
    """`value` times `raw`, both of any size that fits: lower and upper 64 bits of the product, two's complement."""
    a = np.uint64(abs(value))
    a0, a1, b0, b1 = a & _LOW, a >> _U32, raw[0] & _LOW, raw[0] >> _U32
    low = a0 * b0
    middle = a1 * b0 + (low >> _U32)
    cross = a0 * b1 + (middle & _LOW)
    out[0] = (cross << _U32) + (low & _LOW)
    out[1] = a1 * b1 + (middle >> _U32) + (cross >> _U32) + a * raw[1]
    if value < 0:
        out[0] = ~out[0] + np.uint64(1)
        out[1] = ~out[1] + np.uint64(out[0] == 0)


@allocating
def _scale(values, raw, out):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        _times(values[i], raw, out[i])


@allocating
def _expand(c, tick, lot, out):  # type: ignore[no-untyped-def]
    """Deltas of a batch's book changes, row by row: one that clears first where the book is emptied."""
    action, side, price, size, order, flags, sequence, ts_event, ts_init = out
    row = 0
    for e in range(len(c.kind)):
        if c.kind[e] == TRADE:
            continue
        begin = row
        if c.clear[e]:
            action[row], side[row], order[row], flags[row] = 0, 0, 0, _CLEARS
            price[row], size[row] = 0, 0
            row += 1
        for i in range(c.first[e], c.first[e + 1]):
            action[row] = 1 if c.size[i] else 2
            side[row] = 1 if c.side[i] == BID else 2
            _times(c.price[i], tick, price[row])
            _times(c.size[i], lot, size[row])
            order[row], flags[row] = c.order[i], LAST if i == c.first[e + 1] - 1 else 0
            row += 1
        for i in range(begin, row):
            sequence[i], ts_event[i], ts_init[i] = c.sequence[e], c.ts_event[e], c.ts[e]

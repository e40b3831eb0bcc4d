"""Files of Nautilus' `ParquetDataCatalog`, as versions 1 and 2 write them: what kind they are, and their columns.

Version 2 writes prices and sizes as decimals, sides as words and depth as lists of levels; version 1 as raw integers
of a fixed point (64 bits x 1e9, or 128 bits x 1e16), numbers, and ten columns a side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market.errors import DataError
from venues.recordings.loaders.units import epoch_ns

type Kind = Literal["deltas", "depths", "quotes", "trades", "instrument"]

_TIMES = frozenset({"ts_event", "ts_init"})
_COLUMNS: dict[Kind, frozenset[str]] = {
    "deltas": _TIMES | {"action", "side", "price", "size", "order_id", "flags"},
    "quotes": _TIMES | {"bid_price", "ask_price", "bid_size", "ask_size"},
    "trades": _TIMES | {"price", "size", "aggressor_side", "trade_id"},
    "instrument": frozenset({"id", "price_increment"}),
}
_DEPTHS = (frozenset({"bids", "asks"}), frozenset({"bid_price_0", "ask_price_0", "bid_size_0", "ask_size_0"}))
_ROWS = 32_768
_RAW_64, _RAW_128 = 1e9, 1e16
_HIGH = 2.0**64


class Increments(msgspec.Struct, frozen=True):
    """Tick, lot and multiplier of an instrument's definition."""

    tick: Decimal
    lot: Decimal
    multiplier: Decimal


class Columns:
    """Some rows of a file: fields as plain lists."""

    def __init__(self, path: Path, batch: pa.RecordBatch) -> None:
        self._path, self._batch = path, batch

    def amounts(self, name: str) -> list[float]:
        """Prices or sizes."""
        with _sound(self._path):
            found: list[float] = _floats(self._batch.column(name)).tolist()
            return found

    def integers(self, name: str) -> list[int]:
        with _sound(self._path):
            return [int(value) for value in self._batch.column(name).to_pylist()]

    def words(self, name: str) -> list[str]:
        """Words, or the numbers that stand for them, as words."""
        with _sound(self._path):
            column = self._batch.column(name)
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            return [str(word) for word in column.to_pylist()]

    def times(self, name: str) -> list[int]:
        """Nanoseconds since 1970."""
        with _sound(self._path):
            stamps: list[int] = pc.cast(self._batch.column(name), pa.int64(), safe=False).to_pylist()
            if None in stamps:
                raise ValueError(f"column {name!r}: a time is missing")
            for stamp in {min(stamps), max(stamps)}:
                epoch_ns(stamp // 10**9)
            return stamps

    def sides(self, name: str) -> list[list[tuple[float, float]]]:
        """Levels a row of a side (`bid`, `ask`) of depth: price and size, best first."""
        with _sound(self._path):
            return self._sides(name)

    def _sides(self, name: str) -> list[list[tuple[float, float]]]:
        names = set(self._batch.schema.names)
        if f"{name}s" in names:
            column = self._batch.column(f"{name}s")
            levels = column.flatten()
            ends = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)).tolist()
            pairs = list(zip(*(_floats(levels.field(what)).tolist() for what in ("price", "size")), strict=True))
            return [pairs[first:last] for first, last in zip([0, *ends[:-1]], ends, strict=True)]
        count = next(i for i in range(len(names) + 1) if f"{name}_price_{i}" not in names)
        prices, sizes = ([self.amounts(f"{name}_{what}_{i}") for i in range(count)] for what in ("price", "size"))
        columns = [list(zip(p, s, strict=True)) for p, s in zip(prices, sizes, strict=True)]
        return [list(levels) for levels in zip(*columns, strict=True)]


def _floats(column: pa.Array) -> NDArray[np.float64]:
    """Prices or sizes, whatever they are written as."""
    kind = column.type
    if column.null_count:
        raise ValueError("a price or size is missing")
    if pa.types.is_fixed_size_binary(kind):
        raw = np.frombuffer(b"".join(column.to_pylist()), "<i8")
        if kind.byte_width == 8:
            return np.asarray(raw / _RAW_64)
        if kind.byte_width == 16:
            pairs = raw.reshape(-1, 2)
            return np.asarray((pairs[:, 1] * _HIGH + pairs[:, 0].view("<u8")) / _RAW_128)
    elif pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    elif pa.types.is_integer(kind):
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)) / _RAW_64
    raise ValueError(f"prices and sizes are no {kind}")


def kind_of(path: Path) -> Kind | None:
    """What a file holds; None where it is none of Nautilus' that are read."""
    with _sound(path):
        names = set(pq.read_schema(path).names)
        if any(names >= columns for columns in _DEPTHS) and names >= _TIMES:
            return "depths"
        return next((kind for kind, columns in _COLUMNS.items() if names >= columns), None)


def instrument_of(path: Path) -> str:
    """The instrument that a file's metadata names, or else its folder."""
    with _sound(path):
        named = (pq.read_schema(path).metadata or {}).get(b"instrument_id")
    return named.decode("utf-8", "replace") if named else path.parent.name


def first_time(path: Path) -> int:
    """Arrival of the first row, 0 where there is none."""
    return next((times[0] for columns in batches(path) if (times := columns.times("ts_init"))), 0)


def batches(path: Path) -> Iterator[Columns]:
    """Yield a file's rows, so many in memory at a time."""
    with _sound(path):
        for batch in pq.ParquetFile(path).iter_batches(_ROWS, use_threads=False):
            if batch.num_rows:
                yield Columns(path, batch)


def increments(path: Path) -> list[Increments]:
    """The definitions of a file of instruments."""
    found = []
    with _sound(path):
        table = pq.read_table(path)
        names = set(table.column_names)
        wanted = [name for name in ("price_increment", "size_increment", "multiplier") if name in names]
        for row in table.select(wanted).to_pylist():
            tick, lot, multiplier = (_decimal(row.get(n)) for n in ("price_increment", "size_increment", "multiplier"))
            found.append(Increments(tick, lot, multiplier))
    return found


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value)) if value is not None else Decimal(1)


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Say in a sentence what is wrong with a file."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, InvalidOperation, OverflowError) as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a sound file of a Nautilus catalog ({text})") from error

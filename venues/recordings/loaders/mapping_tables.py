"""Any CSV (plain, gzip, xz, zstd) or Parquet, read in batches by pyarrow: fields as words, numbers and times."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from market.errors import DataError
from market.sessions import NS_PER_S
from venues.recordings.loaders.base import NOTHING, lines, open_binary
from venues.recordings.loaders.mapping import Amount, Csv, Time
from venues.recordings.loaders.units import epoch_ns, in_unit

_ROWS, _BLOCK = 32_768, 1 << 22
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NOTHING = pa.array(sorted(NOTHING))


class Table:
    """One file: its columns by name, and its rows in batches."""

    def __init__(self, path: Path, form: Csv) -> None:
        self.path, self._form = path, form
        with open_binary(path) as raw:
            start = raw.read(4)
        self._is_parquet = start == b"PAR1"
        names = self._parquet().schema_arrow.names if self._is_parquet else self._header()
        self.columns = {name.strip(): name for name in names}
        self._names = names

    def need(self, name: str, key: str) -> str:
        """The column's name as the file writes it; raises where it is not there, or stands twice."""
        if name not in self.columns:
            shown = ", ".join(list(self.columns)[:12])
            raise DataError(f"{self.path}: column {name!r} of the mapping's key {key} is missing; the file has {shown}")
        if [own.strip() for own in self._names].count(name) > 1:
            raise DataError(f"{self.path}: column {name!r} stands twice in the header")
        return self.columns[name]

    def batches(self, columns: Sequence[str]) -> Iterator[Fields]:
        """Yield the rows of some columns, a batch in memory at a time."""
        first = 1
        try:
            for batch in self._read([self.columns[name] for name in columns]):
                yield Fields(self.path, first, dict(zip(columns, batch.columns, strict=True)))
                first += batch.num_rows
        except pa.ArrowException as error:
            text = " ".join(str(error).split())[:200]
            raise DataError(f"{self.path}: cannot be read after row {first - 1}: {text}") from error

    def _read(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if self._is_parquet:
            for batch in self._parquet().iter_batches(_ROWS, columns=columns, use_threads=False):
                yield batch.select(columns)
            return
        with open_binary(self.path) as raw, io.BufferedReader(raw, 1 << 20) as buffered:  # type: ignore[type-var]
            yield from pacsv.open_csv(
                buffered,
                pacsv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=self._form.columns or None),
                pacsv.ParseOptions(delimiter=self._form.delimiter),
                pacsv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
            )

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: not a sound Parquet file ({' '.join(str(error).split())[:200]})") from error

    def _header(self) -> list[str]:
        if self._form.columns:
            return self._form.columns
        line = next(((text) for _, text in lines(self.path) if text), "")
        try:
            return next(csv.reader([line], delimiter=self._form.delimiter), [])
        except csv.Error as error:
            raise DataError(f"{self.path}: {error}") from error


class Fields:
    """Some rows of a file, column by column; errors name file, row and column."""

    def __init__(self, path: Path, first: int, columns: dict[str, pa.Array]) -> None:
        self._path, self._columns = path, columns
        self._rows: Sequence[int] = range(first, first + len(next(iter(columns.values()))))

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, chosen: list[int]) -> Fields:
        """Some of the rows, by their places."""
        if len(chosen) == len(self._rows):
            return self
        some = Fields(self._path, 0, {name: column.take(pa.array(chosen)) for name, column in self._columns.items()})
        some._rows = [self._rows[i] for i in chosen]
        return some

    def words(self, name: str) -> list[str]:
        """Fields as words to be compared: without regard to case or blanks; empty where there is nothing."""
        return [text.casefold() for text in self.texts(name)]

    def texts(self, name: str) -> list[str]:
        """Fields as they are written, without blanks around."""
        return [text or "" for text in pc.utf8_trim_whitespace(self._text(name)).to_pylist()]

    def numbers(self, field: Amount) -> list[float | None]:
        """Fields as finite numbers in the contract's own units; None where there is nothing."""
        unit = float(field.unit)
        found = self._floats(field.column)
        values: list[float | None] = found.to_pylist()
        for i, value in enumerate(values):
            if value is None:
                continue
            if math.isnan(value):
                values[i] = None
            elif math.isinf(value):
                raise self.error(field.column, i, "a number")
            elif unit != 1.0:
                values[i] = value * unit
        return values

    def levels(self, price: Amount, size: Amount) -> list[tuple[float, float] | None]:
        """Prices and sizes; None where both say nothing."""
        found: list[tuple[float, float] | None] = []
        for i, (where, what) in enumerate(zip(self.numbers(price), self.numbers(size), strict=True)):
            if where is None or what is None or what < 0:
                if where or what:
                    raise self.error(price.column if where is None else size.column, i, "a number of zero or more")
                found.append(None)
            else:
                found.append((where, what))
        return found

    def choices[T](self, name: str, meanings: dict[str, T]) -> list[T]:
        """What the fields' words mean; raises for a word that has no meaning."""
        words = self.words(name)
        try:
            return [meanings[word] for word in words]
        except KeyError:
            place = next(i for i, word in enumerate(words) if word not in meanings)
            known = ", ".join(sorted(word for word in meanings if word))
            raise self.error(name, place, f"one of {known}: add it to the mapping") from None

    def times(self, columns: Sequence[str], time: Time) -> list[int]:
        """Fields as ns since 1970."""
        column = self._columns[columns[0]]
        if len(columns) == 1 and pa.types.is_timestamp(column.type):
            return self._stamps(columns[0], column, time)
        texts = [" ".join(parts) for parts in zip(*(self.texts(name) for name in columns), strict=True)]
        parse = _parser(time)
        if time.format is None and (fast := self._integers(columns, time)) is not None:
            return fast
        stamps = []
        for i, text in enumerate(texts):
            try:
                stamps.append(parse(text))
            except (ValueError, ArithmeticError, OverflowError) as error:
                raise self.error(columns[-1], i, f"a time as the mapping says ({error})") from None
        return stamps

    def error(self, name: str, place: int, expected: str) -> DataError:
        found = self._columns[name][place].as_py()
        return DataError(f"{self._path}, row {self._rows[place]}, column {name!r}: {found!r} is not {expected}")

    def _integers(self, columns: Sequence[str], time: Time) -> list[int] | None:
        """All fields as whole numbers of one unit; None where they are something else."""
        try:
            stamps: list[int] = pc.cast(self._text(columns[0]), pa.int64()).to_pylist()
            if len(columns) > 1 or None in stamps:
                return None
            return [in_unit(stamp, time.unit) if time.unit else epoch_ns(stamp) for stamp in stamps]
        except (pa.ArrowException, ValueError):
            return None

    def _stamps(self, name: str, column: pa.Array, time: Time) -> list[int]:
        try:
            if column.type.tz is None and time.timezone != "UTC":
                column = pc.assume_timezone(column, time.timezone)
            stamps = pc.cast(pc.cast(column, pa.timestamp("ns", column.type.tz)), pa.int64()).to_pylist()
        except pa.ArrowException as error:
            raise DataError(f"{self._path}, column {name!r}: {' '.join(str(error).split())}") from error
        for i, stamp in enumerate(stamps):
            if stamp is None:
                raise self.error(name, i, "a time")
            try:
                epoch_ns(stamp // NS_PER_S)
            except ValueError:
                raise self.error(name, i, "a time between 1990 and 2100") from None
        return list(stamps)

    def _text(self, name: str) -> pa.Array:
        column = self._columns[name]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            return pc.cast(column, pa.string())
        except pa.ArrowException as error:
            raise DataError(f"{self._path}: column {name!r} holds {column.type}, which is no text or number") from error

    def _floats(self, name: str) -> pa.Array:
        column = self._columns[name]
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return pc.cast(column, pa.float64(), safe=False)
        text = pc.utf8_trim_whitespace(self._text(name))
        text = pc.if_else(pc.is_in(pc.utf8_lower(text), value_set=_NOTHING), pa.scalar(None, pa.string()), text)
        try:
            return pc.cast(text, pa.float64())
        except pa.ArrowException:
            return pa.array([None if t is None else self._float(name, i, t) for i, t in enumerate(text.to_pylist())])

    def _float(self, name: str, place: int, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise self.error(name, place, "a number") from None


def _parser(time: Time) -> Callable[[str], int]:
    """Read one time as the mapping says; raises `ValueError`."""
    zone, form = zoneinfo.ZoneInfo(time.timezone), time.format
    if form is not None:
        if form == "iso":
            return lambda text: _iso(text, zone)
        return lambda text: _ns(dt.datetime.strptime(text, form), zone)
    unit = time.unit
    if unit is not None:
        return lambda text: in_unit(_decimal(text), unit)
    return lambda text: epoch_ns(_whole(text))


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite() or abs(value) > Decimal("1e20"):
        raise ValueError(f"{text} is no time")
    return value


def _whole(text: str) -> int:
    value = _decimal(text)
    if value != int(value):
        raise ValueError("a time with decimals: say its unit under `time`")
    return int(value)


def _iso(text: str, zone: zoneinfo.ZoneInfo) -> int:
    """ISO 8601, with up to nine decimals of a second."""
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not dot or not digits:
        return _ns(dt.datetime.fromisoformat(text), zone)
    if len(digits) > 9:
        raise ValueError("more than nine decimals of a second")
    return _ns(dt.datetime.fromisoformat(whole + rest[len(digits) :]), zone) + int(digits.ljust(9, "0"))


def _ns(when: dt.datetime, zone: zoneinfo.ZoneInfo) -> int:
    if when.tzinfo is None:
        when = when.replace(tzinfo=zone)
        if when.utcoffset() != when.replace(fold=1).utcoffset():
            raise ValueError("the clock is changed in this hour: it stands twice or never; write times in UTC")
    delta = when - _EPOCH
    ns = (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000
    epoch_ns(ns // NS_PER_S)  # between 1990 and 2100
    return ns

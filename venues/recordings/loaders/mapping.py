"""A mapping file: what the columns of any CSV or Parquet mean (`cmm import --map mine.yaml`)."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from market.errors import ConfigError
from venues.recordings.loaders.archives import archive_of

type Word = str | int | float | bool
type Words = Word | list[Word]
type Columns = str | list[str]
"""One column, or several that are joined by a space (a date and a time)."""


class Amount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of numbers, and what one of it is worth (`1e-9` for prices in billionths)."""

    column: str
    unit: Decimal = Decimal(1)


type Number = str | Amount


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The column that names the instrument.

    `names` gives the ids of its words, and rows with other words are left out; without it the id is the word,
    followed by the `exchange` where one is given.
    """

    column: str
    exchange: str = ""
    names: dict[str, str] = {}


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The columns of the time of arrival and of the exchange's time; where one is missing both are the other.

    Without `unit` and `format` it is a time since 1970 whose unit is told by its size. `format` is Python's (`%Y-%m-%d
    %H:%M:%S.%f`) or `iso`, and `timezone` where its clock stands unless the column says so.
    """

    arrival: Columns | None = None
    exchange: Columns | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    format: str | None = None
    timezone: str = "UTC"


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"words": "is"}):
    """Rows whose column holds one of these words."""

    column: str
    words: Words


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="row"):
    """What one kind of row says; `files` are those that hold it, by name, `when` tells it from others in a file."""

    files: str = "*"
    when: When | None = None


class Snapshot(Row, frozen=True, tag="snapshot"):
    """Levels of the book, best first: columns by a pattern as `bid_px_{i}`, or one column for the best alone."""

    bid_price: Number
    bid_size: Number
    ask_price: Number
    ask_size: Number


class Change(Row, frozen=True, tag="change"):
    """The new size of a level, 0 where it is gone. Rows of one time, or of one `group`, are one change.

    Rows for which `snapshot` holds show the whole book, and the first of them begins it.
    """

    price: Number
    size: Number
    side: str
    bid: Words
    ask: Words
    group: str | None = None
    snapshot: When | None = None


class Order(Row, frozen=True, tag="order"):
    """What is left of one resting order. Without `action` size 0 says that it is gone.

    Rows of one `group` are one change; without it each is one of its own.
    """

    id: str
    price: Number
    size: Number
    side: str
    bid: Words
    ask: Words
    action: str | None = None
    add: Words = []
    change: Words = []
    delete: Words = []
    group: str | None = None


class Print(Row, frozen=True, tag="trade"):
    """A trade; `buy` and `sell` spell the aggressor's side, `neither` where the feed does not tell."""

    price: Number
    size: Number
    side: str | None = None
    buy: Words = []
    sell: Words = []
    neither: Words = []
    id: str | None = None


type Kind = Snapshot | Change | Order | Print


class Csv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How CSV files are written; `columns` names them where a file has no header."""

    delimiter: str = ","
    columns: list[str] = []


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping file."""

    instrument: str | Instrument
    time: Time
    rows: list[Kind]
    csv: Csv = Csv()

    def of(self, path: Path) -> tuple[int, ...]:
        """Which kinds of row a file may hold, by its name or that of the archive it is in."""
        archive = None if path.is_file() else archive_of(path)
        names = [path.name] if archive is None else [path.name, archive.name]
        return tuple(i for i, row in enumerate(self.rows) if any(fnmatch(name, row.files) for name in names))


def read_mapping(path: Path) -> Mapping:
    """Decode a mapping file.

    Raises
    ------
    ConfigError
        It cannot be read, or a key is missing, unknown or does not fit; says which.

    """
    try:
        mapping = msgspec.convert(yaml.safe_load(path.read_text("utf-8")), Mapping)
    except OSError as error:
        raise ConfigError(f"{path}: the mapping file cannot be read: {error.strerror}") from error
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise ConfigError(f"{path}: key {where.strip('`').lstrip('.') or 'top'}: {message}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    for key, problem in _problems(mapping):
        raise ConfigError(f"{path}: key {key}: {problem}")
    return mapping


def words(given: Words) -> frozenset[str]:
    """Words as they are compared: without regard to case or blanks."""
    return frozenset(_word(word) for word in (given if isinstance(given, list) else [given]))


def amount(number: Number) -> Amount:
    """A column with its unit."""
    return Amount(number) if isinstance(number, str) else number


def _word(word: Word) -> str:
    return str(word).strip().casefold()


def _problems(mapping: Mapping) -> Iterator[tuple[str, str]]:
    """What the types cannot say."""
    time = mapping.time
    if not time.arrival and not time.exchange:
        yield "time", "names no column; give `arrival`, `exchange` or both"
    if time.unit and time.format:
        yield "time", "has both a unit and a format; give one"
    try:
        zoneinfo.ZoneInfo(time.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        yield "time.timezone", f"unknown time zone {time.timezone!r}; write it as Asia/Shanghai or UTC"
    if isinstance(mapping.instrument, str) and not _is_id(mapping.instrument):
        yield "instrument", f"{mapping.instrument!r} is no id as BTCUSDT-PERP.BINANCE, and no column"
    if isinstance(mapping.instrument, Instrument):
        for word, name in mapping.instrument.names.items():
            if not _is_id(name):
                yield f"instrument.names.{word}", f"{name!r} is no id as BTCUSDT-PERP.BINANCE"
    if len(mapping.csv.delimiter) != 1 or mapping.csv.delimiter in '"\r\n' or not mapping.csv.delimiter.isascii():
        yield "csv.delimiter", "must be one character"
    if len(set(mapping.csv.columns)) < len(mapping.csv.columns):
        yield "csv.columns", "names a column twice"
    if not mapping.rows:
        yield "rows", "is empty; say what a row is: snapshot, change, order or trade"
    kinds = {type(row) for row in mapping.rows}
    if Order in kinds and kinds & {Snapshot, Change}:
        yield "rows", "a book is told by orders or by levels, not by both; leave one out"
    for i, row in enumerate(mapping.rows):
        yield from ((f"rows[{i}].{key}", problem) for key, problem in _row_problems(row))


def _row_problems(row: Kind) -> Iterator[tuple[str, str]]:
    for name in ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size"):
        found = getattr(row, name, None)
        if isinstance(found, Amount) and not (found.unit.is_finite() and 0 < found.unit < Decimal("1e18")):
            yield f"{name}.unit", f"{found.unit} is no unit; write what one is worth, as 1e-9"
    if isinstance(row, Snapshot):
        patterns = [amount(n).column for n in (row.bid_price, row.bid_size, row.ask_price, row.ask_size)]
        if len({pattern.count("{i}") for pattern in patterns}) > 1 or patterns[0].count("{i}") > 1:
            yield "bid_price", "all four columns hold {i} once, or none does"
        return
    pairs = [("buy", "sell"), ("buy", "neither"), ("sell", "neither")] if isinstance(row, Print) else [("bid", "ask")]
    if isinstance(row, Order):
        pairs += [("add", "change"), ("add", "delete"), ("change", "delete")]
    for one, other in pairs:
        both = words(getattr(row, one)) & words(getattr(row, other))
        if both:
            yield other, f"{min(both)!r} stands under {one} too"
    if isinstance(row, Print) and row.side and not (words(row.buy) and words(row.sell)):
        yield "side", "say how `buy` and `sell` are spelled"
    if isinstance(row, Change | Order) and not (words(row.bid) and words(row.ask)):
        yield "side", "say how `bid` and `ask` are spelled"
    if isinstance(row, Order) and row.action and not (words(row.add) and words(row.delete)):
        yield "action", "say how `add` and `delete` are spelled"


def _is_id(name: str) -> bool:
    symbol, dot, exchange = name.rpartition(".")
    return bool(symbol and dot and exchange)

"""The catalog: recordings as a Nautilus `ParquetDataCatalog`, with a manifest of what is whole.

`<root>/data/…` is the Nautilus catalog, one or more Parquet files a trading day and type.
`<root>/columns/…` holds the same as memory-mapped columns (`column_store`).
`<root>/manifest/<instrument>/<date>.json` says that a day is complete, where it came from and what
was dropped. A day without its manifest entry does not exist for any command: the entry is written
last, so that a stopped import leaves nothing that could be taken for whole. Earlier versions kept
the entries in `<root>/ledger`: they are read, and move when their day is imported again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from filelock import Timeout
from nautilus_trader.model import OrderBookDelta, TradeTick
from nautilus_trader.persistence import ParquetDataCatalog

from market.columns import Columns
from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.files import lock_on, write_json, write_whole
from venues.recordings.column_files import join
from venues.recordings.column_store import ColumnStore, name_of

SCHEMA = 1
_SUMS = ("book_updates", "levels", "trades", "traded_lots", "crossed", "one_sided")
_TYPES = ("order_book_deltas", "trades")
_MANIFEST, _EARLIER = "manifest", "ledger"


class Source(msgspec.Struct, frozen=True):
    """One file that a day was read from."""

    name: str
    sha256: str


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """Manifest entry of one trading day of one instrument; times in ns, ends included.

    A day that was imported in several pieces names them as `parts`, which lie apart in time, and holds
    their sums.
    """

    schema: int
    instrument: str
    date: dt.date
    format: str
    start_ns: int
    end_ns: int
    depth: int
    orders: bool = False
    book_updates: int
    levels: int
    trades: int
    traded_lots: int
    crossed: int
    one_sided: int = 0
    drops: dict[str, int]
    notes: list[str] = []
    sources: list[Source]
    tick: str
    lot: str
    sha256: str
    parts: list[Day] = []

    @property
    def pieces(self) -> list[Day]:
        """The spans that it consists of, in order of time."""
        return self.parts or [self]


class Catalog:
    """Days that are whole, by instrument."""

    def __init__(self, root: Path, contracts: ContractTable) -> None:
        self.root = root
        self.contracts = contracts
        self._columns = ColumnStore(root)

    @property
    def path(self) -> str:
        """Folder to hand to Nautilus' catalog and backtest node."""
        return str(self.root.absolute())

    def nautilus(self) -> ParquetDataCatalog:
        return ParquetDataCatalog(self.path)

    def instruments(self) -> list[str]:
        """Ids with at least one whole day, sorted."""
        entries = [path for name in (_EARLIER, _MANIFEST) for path in (self.root / name).glob("*/*.json")]
        return sorted({path.parent.name for path in entries})

    def resolve(self, name: str) -> str:
        """Return the id of an instrument that was imported, named Nautilus' way or CTP's."""
        known = self.instruments()
        left, _, right = name.rpartition(".")
        for candidate in (name, f"{right}.{left}"):
            if candidate in known:
                return candidate
        what = f"it holds {', '.join(known[:8])}{' …' if len(known) > 8 else ''}" if known else "it is empty"
        raise DataError(
            f"unknown instrument {name}: not in the catalog {self.root} ({what}); "
            "run `cmm import FILES` with its recordings first"
        )

    def days(self, instrument: str) -> dict[dt.date, Day]:
        """Whole days of an instrument, in order."""
        folders = [self.root / name / instrument for name in (_EARLIER, _MANIFEST)]
        entries = {path.name: path for folder in folders for path in folder.glob("*.json")}
        days = [self._read(path) for _, path in sorted(entries.items())]
        return {day.date: day for day in days}

    def day(self, instrument: str, date: dt.date) -> Day:
        days = self.days(instrument)
        if date not in days:
            raise DataError(
                f"{instrument} has no data for {date} in the catalog {self.root}; it has "
                f"{', '.join(map(str, days))}; run `cmm import FILES` with that day's recording"
            )
        return days[date]

    def contract(self, day: Day) -> Contract:
        """The contract's terms on that day; raises if the table changed since the import."""
        contract = self.contracts.by_id(day.instrument, day.date)
        if (str(contract.terms.tick), str(contract.terms.lot)) != (day.tick, day.lot):
            raise DataError(
                f"{day.instrument} {day.date} was imported with tick {day.tick} and lot {day.lot}, the contract "
                f"table now says {contract.terms.tick} and {contract.terms.lot}; import it with --again"
            )
        return contract

    def chunks(self, day: Day) -> Iterator[tuple[list[OrderBookDelta], list[TradeTick]]]:
        """Yield the day's data file by file, in order of time: memory stays bounded."""
        catalog = self.nautilus()
        for part in day.pieces:
            edges = [start for start, _ in self._intervals("order_book_deltas", part)]
            edges = [min([part.start_ns, *edges]), *edges[1:], part.end_ns + 1]
            for start, stop in pairwise(edges):
                deltas = catalog.query_order_book_deltas([day.instrument], start=start, end=stop - 1)
                trades = catalog.query_trade_ticks([day.instrument], start=start, end=stop - 1)
                yield deltas, trades

    def columns(self, day: Day) -> Columns:
        """The day as columns: memory maps, which a day of several parts is copied from.

        A day that was imported before there were columns gets them now.

        Raises
        ------
        DataError
            Nautilus' files do not hold what the manifest says.

        """
        return join([self._part(part) for part in day.pieces])

    def _part(self, part: Day) -> Columns:
        events = part.book_updates + part.trades
        return self._columns.open(part.instrument, name_of(part.date, part), events, lambda to: self._rebuild(part, to))

    def _rebuild(self, part: Day, path: Path) -> None:
        """Write the columns of a part from Nautilus' files."""
        from venues.recordings.rebuild import write_columns

        write_columns(self, part, path)

    def others(self, instrument: str, date: dt.date, sources: list[Source]) -> list[Day]:
        """Parts of a day that came from other files."""
        day = self.days(instrument).get(date)
        return [part for part in day.pieces if part.sources != sources] if day is not None else []

    def _read(self, path: Path) -> Day:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Day)
        except (OSError, msgspec.DecodeError) as error:
            raise DataError(f"{path}: damaged manifest entry ({error}); delete it and import that day again") from error

    def _intervals(self, kind: str, day: Day) -> list[tuple[int, int]]:
        found = [_interval(path.name) for path in self._files(kind, day.instrument)]
        return sorted(span for span in found if span[1] >= day.start_ns and span[0] <= day.end_ns)

    def _files(self, kind: str, instrument: str) -> list[Path]:
        folder = self.root / "data" / kind / instrument
        return sorted(folder.glob("*.parquet")) if folder.is_dir() else []

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the catalog for writing; a second import says so instead of mixing with the first."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = lock_on(self.root / ".lock")
        try:
            lock.acquire()
        except Timeout as error:
            raise DataError(f"{self.root}: another import is running on this catalog; wait for it") from error
        try:
            yield
        finally:
            lock.release()

    def commit(self, parts: list[tuple[Day, Path]], nautilus_instrument: Any, again: bool) -> Day:
        """Move staged spans of one day into the catalog; the manifest comes last.

        They replace an earlier import of the same files, and with `again` whatever they overlap; all else of the
        day stays. Returns the day as it stands now.
        """
        new = [part for part, _ in parts]
        instrument, date = new[0].instrument, new[0].date
        days = self.days(instrument)
        had = days[date].pieces if date in days else []
        kept = [p for p in had if p.sources != new[0].sources and not (again and any(_overlap(p, n) for n in new))]
        others = [known for known in days.values() if known.date != date]
        self._check_terms(new[0], kept + others)
        merged = _merge(sorted([*kept, *new], key=lambda part: part.start_ns))
        if len(kept) < len(had):
            self._enter(instrument, date, kept)
        for kind in _TYPES:
            target = self.root / "data" / kind / instrument
            target.mkdir(parents=True, exist_ok=True)
            self._remove_orphans(kind, instrument, [*kept, *(p for d in others for p in d.pieces)])
            for _, staged in parts:
                for path in sorted(staged.glob(f"{kind}.*")):
                    os.replace(path, target / path.name.removeprefix(f"{kind}."))
        self._columns.put({name_of(part.date, part): staged / "columns" for part, staged in parts}, instrument)
        if not self._has_terms(instrument):
            self.nautilus().write_instruments([nautilus_instrument])
        self._enter(instrument, date, merged.pieces)
        self._columns.prune(instrument, [name_of(p.date, p) for d in [*others, merged] for p in d.pieces])
        for _, staged in parts:
            shutil.rmtree(staged, ignore_errors=True)
        return merged

    def _check_terms(self, day: Day, kept: list[Day]) -> None:
        for known in kept:
            if (known.tick, known.lot) != (day.tick, day.lot):
                raise DataError(
                    f"{day.instrument}: the catalog {self.root} holds days with tick {known.tick} and lot {known.lot}, "
                    f"{day.date} has {day.tick} and {day.lot}; import it into another catalog (--set data.path=…)"
                )

    def _enter(self, instrument: str, date: dt.date, parts: list[Day]) -> None:
        """Write the manifest entry of a day, or remove it where nothing is left."""
        earlier, entry = (self.root / name / instrument / f"{date}.json" for name in (_EARLIER, _MANIFEST))
        if not parts:
            entry.unlink(missing_ok=True)
            earlier.unlink(missing_ok=True)
            return
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_whole(entry, msgspec.json.format(msgspec.json.encode(_merge(parts))))
        earlier.unlink(missing_ok=True)

    def completed(self, sources: list[Source]) -> list[Day]:
        """Days of a recording that was imported to its end and still stands; else empty."""
        path = self._receipt(sources)
        if not path.exists():
            return []
        named = msgspec.json.decode(path.read_bytes(), type=list[tuple[str, dt.date]])
        days = [self.days(instrument).get(date) for instrument, date in named]
        whole = all(day and any(part.sources == sources for part in day.pieces) for day in days)
        return [day for day in days if day] if whole else []

    def complete(self, sources: list[Source], days: list[Day]) -> None:
        """Note that a recording was imported to its end."""
        path = self._receipt(sources)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, [(day.instrument, day.date) for day in days])

    def _receipt(self, sources: list[Source]) -> Path:
        identity = hashlib.sha256(f"{SCHEMA} {sources}".encode()).hexdigest()[:24]
        return self.root / "receipts" / f"{identity}.json"

    def _has_terms(self, instrument: str) -> bool:
        """Whether Nautilus' catalog knows the instrument: asking it would open the files of every one."""
        folders = (path.parent for path in (self.root / "data").glob(f"*/{instrument}/*.parquet"))
        return any(folder.parent.name not in _TYPES for folder in folders)

    def _remove_orphans(self, kind: str, instrument: str, parts: list[Day]) -> None:
        """Delete files that none of the parts vouches for: an import stopped half-way left them."""
        spans = [(part.start_ns, part.end_ns) for part in parts]
        for path in self._files(kind, instrument):
            start, end = _interval(path.name)
            if not any(first <= start and end <= last for first, last in spans):
                path.unlink()


def _overlap(one: Day, other: Day) -> bool:
    return one.start_ns <= other.end_ns and other.start_ns <= one.end_ns


def _merge(parts: list[Day]) -> Day:
    """A day of its parts, in order of time."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for part in parts[1:]:
        if (part.format, part.depth, part.orders) != (first.format, first.depth, first.orders):
            raise DataError(
                f"{part.instrument} {part.date}: {_kind(part)} does not mix with {_kind(first)} of the same day; "
                "import it into another catalog (--set data.path=…)"
            )
    drops: Counter[str] = Counter()
    for part in parts:
        drops.update(part.drops)
    return msgspec.structs.replace(
        first,
        end_ns=parts[-1].end_ns,
        **{name: sum(getattr(part, name) for part in parts) for name in _SUMS},
        drops=dict(sorted(drops.items())),
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
        sources=[source for part in parts for source in part.sources],
        sha256=hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        parts=parts,
    )


def _kind(part: Day) -> str:
    if not part.book_updates:
        return f"a {part.format} recording of trades alone"
    what = "of orders" if part.orders else f"of {part.depth} levels" if part.depth else "of whole books"
    return f"a {part.format} recording {what}"


def _interval(name: str) -> tuple[int, int]:
    """First and last ns from Nautilus' file name `2021-01-08T01-30-00-400000000Z_….parquet`."""
    first, _, last = name.removesuffix(".parquet").partition("_")
    return _stamp(first), _stamp(last)


def staged_name(kind: str, start_ns: int, end_ns: int) -> str:
    """Name in a staging folder of a file with data from one moment to another, ns: its kind, then Nautilus' name."""
    return f"{kind}.{_text(start_ns)}_{_text(end_ns)}.parquet"


def _text(ns: int) -> str:
    return f"{dt.datetime.fromtimestamp(ns // 10**9, dt.UTC):%Y-%m-%dT%H-%M-%S}-{ns % 10**9:09d}Z"


def _stamp(text: str) -> int:
    date, _, clock = text.removesuffix("Z").partition("T")
    hours, minutes, seconds, nanos = clock.split("-")
    midnight = dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC)
    return (int(midnight.timestamp()) + int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 10**9 + int(nanos)

"""A part of a day as columns on disk: one file (`market.array_file`), opened as memory maps."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.array_book import ArrayBook
from market.array_file import ArrayWriter, read_arrays
from market.columns import Columns
from market.events import Level
from venues.recordings.column_kernels import CLEARS, OWNED, TRADED, follow_book, follow_orders, new_queues, unfold

_TYPES: dict[str, Any] = {
    "kind": np.int8, "ts": np.int64, "ts_event": np.int64, "sequence": np.int64, "clear": np.bool_, "first": np.int64,
    "side": np.int8, "price": np.int64, "size": np.int64, "order": np.int64, "stood": np.int64, "joined": np.int64,
    "shown": np.int64, "state": np.int8,
}  # fmt: skip
_WIDTHS = {"shown": 6}
_BY_EVENT, _BY_ROW = ("kind", "ts", "ts_event", "sequence", "clear"), ("side", "price", "size", "order")
_DERIVED = ("shown", "state")
_OF_ORDERS = ("stood", "joined")
_OF_ROWS = (*_BY_ROW, *_OF_ORDERS)
_NAMING_ORDERS = ("order", *_OF_ORDERS)
_KEY = "columns"


class Batch:
    """Events that wait to be written, as numbers; `words` are also what a part's hash is made of."""

    def __init__(self) -> None:
        self.heads, self.words = array("q"), array("q")
        self.rows = self.prints = self.clears = 0

    def book(
        self, changes: Sequence[Level], ts_event: int, ts: int, clear: bool = False, owners: Sequence[int] = ()
    ) -> None:
        self.heads.extend((ts_event, len(changes), (CLEARS if clear else 0) | (OWNED if owners else 0)))
        self.words.append(ts)
        self.words.extend(chain.from_iterable(changes))
        if owners:
            self.words.extend(owners)
        self.rows += len(changes)
        self.clears += clear

    def trade(self, price: int, size: int, aggressor: int, ts_event: int, ts: int) -> None:
        self.heads.extend((ts_event, 1, TRADED))
        self.words.extend((ts, price, size, aggressor))
        self.prints += 1

    def columns(self, sequence: int) -> Columns:
        """The events as columns, without what follows from them; the first is number `sequence`."""
        heads = np.frombuffer(self.heads, np.int64).reshape(-1, 3)
        n, m = len(heads), self.rows + self.prints
        made = blank(n, m, sequence)
        c = made
        unfold(
            heads, np.frombuffer(self.words, np.int64), c.kind, c.ts, c.ts_event, c.clear, c.first, c.side, c.price,
            c.size, c.order,
        )  # fmt: skip
        return made


def blank(n: int, m: int, sequence: int) -> Columns:
    """Room for n events and m rows, numbered from `sequence`."""
    lengths = dict.fromkeys(_BY_ROW, m)
    lengths |= dict.fromkeys((*_DERIVED, *_OF_ORDERS), 0) | {"first": n + 1}
    made = {name: _room(name, lengths.get(name, n)) for name in Columns._fields}
    made["first"][0] = 0
    made["sequence"] = np.arange(sequence, sequence + n, dtype=np.int64)
    return Columns(**made)


class ColumnWriter:
    """Writes the columns of one part of a day into a file; memory is flat in its length.

    What follows from the events is written at the end: only then is known how many levels the feed shows. Until then
    all batches but the last lie beside the file, which a short part is spared.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: Columns | None = None
        self._beside: list[Path] = []
        self._events = self._rows = 0

    def append(self, batch: Columns) -> None:
        """Take the events of a batch after those before."""
        if self._held is not None:
            self._put_aside(self._held)
        self._held = batch
        self._events, self._rows = self._events + len(batch.kind), self._rows + len(batch.price)

    def finish(self, depth: int, orders: bool) -> None:
        """Write the file, with what follows from the events, the feed showing so many levels, or naming orders."""
        names = [name for name in Columns._fields if orders or name not in _NAMING_ORDERS]
        lengths = dict.fromkeys(_OF_ROWS, self._rows) | {"first": self._events + 1}
        shapes = {name: (np.dtype(_TYPES[name]), _shape(name, lengths.get(name, self._events))) for name in names}
        book, queues, event, row = ArrayBook(), new_queues() if orders else None, 0, 0
        with ArrayWriter(self._path, shapes) as file:
            for batch in self._batches():
                whole = _completed(batch, 0 if orders else depth, book, queues, row)
                for name in names:
                    file.write(name, row if name in _OF_ROWS else event, getattr(whole, name))
                event, row = event + len(batch.kind), row + len(batch.price)
            file.finish(_KEY, hashed=False)

    def _put_aside(self, batch: Columns) -> None:
        path, columns = self._path.with_name(f"{self._path.name}.{len(self._beside)}"), batch._asdict()
        with ArrayWriter(path, {name: (values.dtype, values.shape) for name, values in columns.items()}) as file:
            for name, values in columns.items():
                file.write(name, 0, values)
            file.finish(_KEY, hashed=False)
        self._beside.append(path)

    def _batches(self) -> Iterator[Columns]:
        for path in self._beside:
            yield Columns(**{name: np.array(values) for name, values in _read(path).items()})
            path.unlink()
        yield self._held if self._held is not None else blank(0, 0, 1)


def _completed(batch: Columns, depth: int, book: ArrayBook, queues: Any, base: int) -> Columns:
    """A batch with what follows from it, as it stands in the part, where its first row is number `base`.

    Book and queues (None: no orders are named) are those before it, and afterwards those after it.
    """
    n, m = len(batch.kind), len(batch.price)
    changes = (batch.kind, batch.clear, batch.first, batch.side, batch.price, batch.size)
    made = {name: _room(name, n) for name in _DERIVED}
    follow_book(*changes, depth, book.state, made["shown"], made["state"])
    if queues is not None:
        made |= {name: _room(name, m) for name in _OF_ORDERS}
        follow_orders(*changes, batch.order, base, queues, made["stood"], made["joined"])
    return batch._replace(first=batch.first + base, **made)


def open_columns(path: Path) -> Columns:
    """Map a part's columns.

    Raises
    ------
    OSError, ValueError
        The file is missing, cut short, or not one of columns.

    """
    found = dict.fromkeys(_NAMING_ORDERS, _nothing) | _read(path)
    for name in Columns._fields:
        if name not in found or found[name].dtype != _TYPES[name] or found[name].shape[1:] != _shape(name, 0)[1:]:
            raise ValueError(f"{path}: no column of {name}")
    return Columns(**found)


def join(parts: Sequence[Columns]) -> Columns:
    """The parts of a day as one, in order of time: a copy; one alone is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    bases = np.cumsum([0, *(len(part.price) for part in parts)])
    firsts = [part.first[:-1] + base for part, base in zip(parts, bases, strict=False)]
    joined = [np.where(part.joined >= 0, part.joined + base, -1) for part, base in zip(parts, bases, strict=False)]
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Columns._fields}
    whole |= {"first": np.append(np.concatenate(firsts), bases[-1]), "joined": np.concatenate(joined)}
    for values in whole.values():
        values.flags.writeable = False  # as the maps of a single part are
    return Columns(**whole)


def _room(name: str, length: int) -> NDArray[Any]:
    return np.empty(_shape(name, length), _TYPES[name])


def _shape(name: str, length: int) -> tuple[int, ...]:
    return (length, _WIDTHS[name]) if name in _WIDTHS else (length,)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Map what was written: its length tells whether it is whole; hashing a day would take longer than a backtest."""
    return read_arrays(path, _KEY, hashed=False)


_nothing = np.zeros(0, np.int64)
_nothing.flags.writeable = False

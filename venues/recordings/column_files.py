"""A part of a day as columns on disk: one `.npy` file a column, appended as the events come, opened as memory maps."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from market.array_book import ArrayBook
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
_AT_ONCE = 200_000
"""Events in memory while a part is read again."""


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
    """Writes the columns of one part of a day; memory is flat in its length.

    What follows from the events is written at the end: only then is known how many levels the feed shows.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files = {name: _File(folder, name) for name in Columns._fields}
        self._held: Columns | None = None  # the last batch: a short part is never read again
        self._events = self._rows = 0

    def append(self, batch: Columns) -> None:
        """Write the events of a batch after those before."""
        if self._held is not None:
            self._write(self._held)
        self._held = batch

    def finish(self, depth: int, orders: bool) -> None:
        """Write what follows from the events, with the levels that the feed shows, and whether it names orders."""
        alone = not self._events
        last = self._held if self._held is not None else blank(0, 0, 1)
        self._write(last)
        self._derive(iter([last]) if alone else self._read(), depth, orders)
        for name, file in self._files.items():
            if orders or name not in ("order", *_OF_ORDERS):
                file.close()
            else:
                file.remove()

    def _write(self, batch: Columns) -> None:
        for name in (*_BY_EVENT, *_BY_ROW):
            self._files[name].append(getattr(batch, name))
        self._files["first"].append(batch.first[1 if self._events else 0 :] + self._rows)
        self._events, self._rows = self._events + len(batch.kind), self._rows + len(batch.price)

    def _derive(self, parts: Iterator[Columns], depth: int, orders: bool) -> None:
        """Follow the book, and the queues where orders are named."""
        book, queues, base = ArrayBook(), new_queues() if orders else None, 0
        for part in parts:
            n, m = len(part.kind), len(part.price)
            changes = (part.kind, part.clear, part.first, part.side, part.price, part.size)
            shown, state = _room("shown", n), _room("state", n)
            follow_book(*changes, 0 if orders else depth, book.state, shown, state)
            self._files["shown"].append(shown)
            self._files["state"].append(state)
            if queues is not None:
                stood, joined = _room("stood", m), _room("joined", m)
                follow_orders(*changes, part.order, base, queues, stood, joined)
                self._files["stood"].append(stood)
                self._files["joined"].append(joined)
            base += m

    def _read(self) -> Iterator[Columns]:
        """What was written, so many events at a time, as copies: the maps end with each."""
        for name in (*_BY_EVENT, *_BY_ROW, "first"):
            self._files[name].close()
        for start in range(0, self._events, _AT_ONCE):
            by_event = slice(start, start + _AT_ONCE)
            first = self._files["first"].map()[start : start + _AT_ONCE + 1]
            by_row = slice(int(first[0]), int(first[-1]))
            made = dict.fromkeys(Columns._fields, _nothing) | {"first": first - first[0]}
            made |= {name: np.array(self._files[name].map()[by_event]) for name in _BY_EVENT}
            made |= {name: np.array(self._files[name].map()[by_row]) for name in _BY_ROW}
            yield Columns(**made)


def open_columns(folder: Path) -> Columns:
    """Map a part's columns.

    Raises
    ------
    OSError, ValueError
        A file is missing, or cut short.

    """
    return Columns(**{name: _open(folder / f"{name}.npy", name) for name in Columns._fields})


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


class _File:
    """A `.npy` file that grows; its header is written again when its length is known. It is open only while it is
    written: an import of hundreds of contracts holds no file for each."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path, self._name = folder / f"{name}.npy", name
        self._length, self._told = 0, -1

    def append(self, values: NDArray[Any]) -> None:
        if not len(values):
            return
        with self._path.open("ab") as file:
            if not self._length:
                self._told = len(values)
                self._header(file)
            file.write(memoryview(np.ascontiguousarray(values)).cast("B"))
        self._length += len(values)

    def close(self) -> None:
        """Make the header say how long it is."""
        if self._told != self._length:
            with self._path.open("wb" if self._told < 0 else "r+b") as file:
                self._told = self._length
                self._header(file)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def map(self) -> NDArray[Any]:
        return _open(self._path, self._name)

    def _header(self, file: IO[bytes]) -> None:
        """Numpy pads it so that it is as long for every length."""
        described = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(_TYPES[self._name])),
            "fortran_order": False,
            "shape": _shape(self._name, self._told),
        }
        np.lib.format.write_array_header_1_0(file, described)


def _room(name: str, length: int) -> NDArray[Any]:
    return np.empty(_shape(name, length), _TYPES[name])


def _shape(name: str, length: int) -> tuple[int, ...]:
    return (length, _WIDTHS[name]) if name in _WIDTHS else (length,)


def _open(path: Path, name: str) -> NDArray[Any]:
    if name in ("order", *_OF_ORDERS) and not path.exists():
        return _nothing
    values = np.asarray(np.load(path, mmap_mode="r"))
    if values.dtype != _TYPES[name] or values.shape[1:] != _shape(name, 0)[1:]:
        raise ValueError(f"{path}: not a column of {name}")
    return values


_nothing = np.zeros(0, np.int64)
_nothing.flags.writeable = False

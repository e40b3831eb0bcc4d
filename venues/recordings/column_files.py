"""A part of a day as columns on disk: one `.npy` file a column, appended as the events come, opened as memory maps."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
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
    lengths = dict.fromkeys(("side", "price", "size", "order"), m)
    lengths |= dict.fromkeys((*_DERIVED, *_OF_ORDERS), 0) | {"first": n + 1}
    made = {name: np.empty(_shape(name, lengths.get(name, n)), kind) for name, kind in _TYPES.items()}
    made["sequence"] = np.arange(sequence, sequence + n, dtype=np.int64)
    return Columns(**made)


class ColumnWriter:
    """Writes the columns of one part of a day; memory is flat in its length."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files = {name: _File(folder, name) for name in Columns._fields if name not in (*_DERIVED, *_OF_ORDERS)}
        self._files["first"].append(np.zeros(1, np.int64))
        self._rows = 0

    def append(self, batch: Columns) -> None:
        """Write the events of a batch after those before."""
        for name, file in self._files.items():
            values = getattr(batch, name)
            file.append(values[1:] + self._rows if name == "first" else values)
        self._rows += len(batch.price)

    def finish(self, depth: int, orders: bool) -> None:
        """Write what follows from the events, with the levels that the feed shows, and whether it names orders."""
        for file in self._files.values():
            file.close()
        _derive(self._folder, depth, orders)
        if not orders:
            (self._folder / "order.npy").unlink()


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
        self._path, self._name, self._length = folder / f"{name}.npy", name, 0
        with self._path.open("wb") as file:
            self._header(file)

    def append(self, values: NDArray[Any]) -> None:
        with self._path.open("ab") as file:
            file.write(memoryview(np.ascontiguousarray(values)).cast("B"))
        self._length += len(values)

    def close(self) -> None:
        with self._path.open("r+b") as file:
            self._header(file)

    def _header(self, file: IO[bytes]) -> None:
        """Numpy pads it so that it is as long for every length."""
        described = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(_TYPES[self._name])),
            "fortran_order": False,
            "shape": _shape(self._name, self._length),
        }
        np.lib.format.write_array_header_1_0(file, described)


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


def _derive(folder: Path, depth: int, orders: bool) -> None:
    """Follow the book, and the queues where orders are named, through a part that is written."""
    files = {name: _File(folder, name) for name in (*_DERIVED, *(_OF_ORDERS if orders else ()))}
    book, queues = ArrayBook(), new_queues() if orders else None
    arrays = (book.price, book.size, book.count)
    start, base, part = 0, 0, _read(folder, 0)
    while len(part.kind):
        n, m = len(part.kind), len(part.price)
        made = {name: np.empty(_shape(name, n if name in _DERIVED else m), _TYPES[name]) for name in files}
        changes = (part.kind, part.clear, part.first, part.side, part.price, part.size)
        follow_book(*changes, 0 if orders else depth, arrays, made["shown"], made["state"])
        if queues is not None:
            follow_orders(*changes, part.order, base, queues, made["stood"], made["joined"])
        for name, file in files.items():
            file.append(made[name])
        start, base = start + n, base + m
        part = _read(folder, start)
    for file in files.values():
        file.close()


def _read(folder: Path, start: int) -> Columns:
    """A copy of the next events from `start` on, rows counted from the first of theirs; the maps end with it."""
    by_event = slice(start, start + _AT_ONCE)
    first = _open(folder / "first.npy", "first")[start : start + _AT_ONCE + 1]
    by_row = slice(int(first[0]), int(first[-1]))
    made = {"first": first - first[0]} | dict.fromkeys((*_DERIVED, *_OF_ORDERS), _nothing)
    for name in Columns._fields:
        if name not in made:
            cut = by_row if name in ("side", "price", "size", "order") else by_event
            made[name] = np.array(_open(folder / f"{name}.npy", name)[cut])
    return Columns(**made)

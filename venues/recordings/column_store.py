"""Where a catalog keeps the columns of its days: `<root>/columns/<instrument>/<date>.<key>.arrays`, one file a part.

The key is a hash of the part's whole manifest entry: columns that no entry names are nothing, and those of an entry
cannot be another's. A file takes its name when it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from market.columns import Columns
from market.files import lock_on
from venues.recordings.column_files import open_columns

VERSION = 2
"""Of what the columns hold and how; those of another version are made anew."""

type Make = Callable[[Path], None]
"""Writes the columns of a part into a file; what it needs meanwhile lies beside."""


class ColumnStore:
    """The columns below a catalog's root.

    Parameters
    ----------
    root : Path
        The catalog's.

    """

    def __init__(self, root: Path) -> None:
        self._root = root / "columns"

    def open(self, instrument: str, name: str, events: int, make: Make) -> Columns:
        """Map the columns of a part with so many events; make and keep them where they are missing or damaged.

        A catalog that cannot be written gets them for this process alone.
        """
        path = self._path(instrument, name)
        found = _whole(path, events)
        if found is not None:
            return found
        try:
            with self._lock():
                found = _whole(path, events)  # another process may have made them meanwhile
                if found is None:
                    with tempfile.TemporaryDirectory(dir=self._root, prefix=".making.") as scratch:
                        make(Path(scratch) / "columns")
                        _move(Path(scratch) / "columns", path)
                    found = open_columns(path)
                return found
        except PermissionError:
            return _for_now(make)

    def put(self, staged: dict[str, Path], instrument: str) -> None:
        """Take columns that an import has written, by name."""
        for name, file in staged.items():
            _move(file, self._path(instrument, name))

    def prune(self, instrument: str, names: Sequence[str]) -> None:
        """Remove an instrument's columns but those named: no entry vouches for them any more."""
        kept = {self._path(instrument, name).name for name in names}
        for path in (self._root / instrument).iterdir():
            if path.name not in kept:
                _remove(path)

    def _path(self, instrument: str, name: str) -> Path:
        return self._root / instrument / f"{name}.arrays"

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time; what one that was killed left behind is cleared away."""
        self._root.mkdir(parents=True, exist_ok=True)
        lock = lock_on(self._root / ".lock")
        lock.acquire(blocking=True)
        try:
            for left in self._root.glob(".making.*"):
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            lock.release()


def name_of(date: object, entry: msgspec.Struct) -> str:
    """Name of the columns of a part, by its manifest entry."""
    identity = hashlib.sha256(msgspec.json.encode((VERSION, entry)))
    return f"{date}.{identity.hexdigest()[:24]}"


def _whole(path: Path, events: int) -> Columns | None:
    """The columns in a file, None where they are missing, or not what they should be."""
    try:
        found = open_columns(path)
    except (OSError, ValueError):
        return None
    rows = {len(column) for column in (found.side, found.price, found.size)}
    counts = {len(column) for column in (found.kind, found.ts, found.ts_event, found.sequence, found.clear)}
    derived = {len(found.shown), len(found.state), len(found.first) - 1}
    orders = {len(column) for column in (found.order, found.stood, found.joined)}
    good = counts | derived == {events} and rows == {int(found.first[-1])} and orders in ({0}, rows)
    return found if good else None


def _move(staged: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged, path)


def _remove(path: Path) -> None:
    """Version 1 kept a folder for each part."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _for_now(make: Make) -> Columns:
    """Maps outlive the names of their files."""
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch) / "columns")
        return open_columns(Path(scratch) / "columns")

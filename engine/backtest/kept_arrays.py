"""Arrays on disk that were dear to compute: whole or not there, checked on use, shared by processes, bounded in size.

One file an entry (`market.array_file`), with the hash of it all.
An entry takes its name when it is whole, so that a reader finds all of it or nothing; who maps it keeps it, even when
it has been removed meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from market.array_file import Arrays, ArrayWriter, Shapes, file_size, read_arrays
from market.files import lock_on, written_beside

_SUFFIX = ".arrays"


class KeptArrays:
    """A folder of entries.

    Parameters
    ----------
    root : Path
        Made when the first entry is kept.
    limit : int
        Bytes that all entries may take; those used longest ago go first.

    """

    def __init__(self, root: Path, limit: int) -> None:
        self._root, self._limit = root, limit

    def open(self, key: str) -> Arrays | None:
        """Map an entry, read-only; None where there is none, or it is not what was written."""
        path = self._path(key)
        try:
            found = read_arrays(path, key)
            with suppress(OSError):  # a folder that cannot be written is used all the same
                os.utime(path)
        except (OSError, ValueError):
            return None
        return found

    def room_for(self, shapes: Shapes) -> bool:
        """Whether an entry of these shapes may be kept at all."""
        return file_size(shapes) <= self._limit

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Hold what others with the same key wait for; ask `open` again inside.

        Raises
        ------
        OSError
            The folder cannot be written.

        """
        self._root.mkdir(parents=True, exist_ok=True)
        lock = lock_on(self._root / f".lock.{key[0]}")
        lock.acquire(blocking=True)
        try:
            for left in self._root.glob(f".{key[0]}*{_SUFFIX}.*"):  # of a process that was killed: we hold its lock
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    @contextmanager
    def writing(self, key: str, shapes: Shapes) -> Iterator[ArrayWriter]:
        """Write an entry; it is there once the block has ended well, and older ones have made room. Inside `making`.

        Raises
        ------
        OSError
            The disk is full, or the folder cannot be written.

        """
        path = self._path(key)
        self._make_room(file_size(shapes), path)
        with written_beside(path) as beside, ArrayWriter(beside, shapes) as entry:
            yield entry
            entry.finish(key)

    def _path(self, key: str) -> Path:
        return self._root / f"{key}{_SUFFIX}"

    def _make_room(self, size: int, own: Path) -> None:
        """Remove what was used longest ago until so many bytes fit below the limit."""
        found: list[tuple[int, int, Path]] = []
        for path in self._root.glob(f"[!.]*{_SUFFIX}"):
            with suppress(FileNotFoundError):  # another process makes room as well
                known = path.stat()
                found.append((known.st_mtime_ns, known.st_size, path))
        total = size + sum(length for _, length, path in found if path != own)
        for _, length, path in sorted(found):
            if total <= self._limit:
                return
            if path != own:
                path.unlink(missing_ok=True)
                total -= length

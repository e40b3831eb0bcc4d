"""Arrays on disk that were dear to compute: whole or not there, checked on use, shared by processes, bounded in size.

One file an entry: a header (JSON, padded) with each array's place and the hash of it all, then the arrays.
An entry takes its name when it is whole, so that a reader finds all of it or nothing; who maps it keeps it, even when
it has been removed meanwhile.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from market.files import lock_on, written_beside

_HEADER = 8192
_ALIGNED = 64
_SUFFIX = ".arrays"

type Arrays = dict[str, NDArray[np.generic]]
type Shapes = Mapping[str, tuple[np.dtype[np.generic], tuple[int, ...]]]


class _Place(msgspec.Struct, frozen=True):
    """Of one array in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


class _Header(msgspec.Struct, frozen=True):
    key: str
    size: int
    places: dict[str, _Place]
    digest: str = ""
    """Of this header without it, and of the arrays."""


class Writing:
    """An entry that is being made; its arrays are written piece by piece, and need not be in memory."""

    def __init__(self, path: Path, places: dict[str, _Place]) -> None:
        self._path, self._places = path, places
        with path.open("wb") as file:
            file.truncate(_end(places))

    def write(self, name: str, start: int, values: NDArray[np.generic]) -> None:
        """Write rows of an array from row `start` on."""
        place = self._places[name]
        row = place.size // max(place.shape[0], 1) if place.shape else place.size
        with self._path.open("r+b") as file:
            file.seek(place.offset + start * row)
            file.write(np.ascontiguousarray(values, place.dtype).data.cast("B") if values.size else b"")

    def finish(self, key: str) -> None:
        """Write the header, after all else."""
        with self._path.open("r+b") as file:
            header = _Header(key, _end(self._places), self._places)
            text = msgspec.json.encode(msgspec.structs.replace(header, digest=_digest(header, file.fileno())))
            if len(text) > _HEADER:
                raise ValueError("too many arrays for one entry")
            file.seek(0)
            file.write(text.ljust(_HEADER))


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
            found = _read(path, key)
            with suppress(OSError):  # a folder that cannot be written is used all the same
                os.utime(path)
        except (OSError, ValueError, msgspec.DecodeError):
            return None
        return found

    def room_for(self, shapes: Shapes) -> bool:
        """Whether an entry of these shapes may be kept at all."""
        return _end(_places(shapes)) <= self._limit

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
    def writing(self, key: str, shapes: Shapes) -> Iterator[Writing]:
        """Write an entry; it is there once the block has ended well, and older ones have made room. Inside `making`.

        Raises
        ------
        OSError
            The disk is full, or the folder cannot be written.

        """
        path, places = self._path(key), _places(shapes)
        self._make_room(_end(places), path)
        with written_beside(path) as beside:
            entry = Writing(beside, places)
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


def _places(shapes: Shapes) -> dict[str, _Place]:
    places, at = {}, _HEADER
    for name, (dtype, shape) in shapes.items():
        places[name] = place = _Place(np.dtype(dtype).str, shape, at)
        at += -(-place.size // _ALIGNED) * _ALIGNED
    return places


def _end(places: dict[str, _Place]) -> int:
    return max((place.offset + -(-place.size // _ALIGNED) * _ALIGNED for place in places.values()), default=_HEADER)


def _read(path: Path, key: str) -> Arrays:
    with path.open("rb") as file:
        header = msgspec.json.decode(file.read(_HEADER), type=_Header)
        right = header.key == key and header.size == _end(header.places) == os.fstat(file.fileno()).st_size
        if not right or header.digest != _digest(header, file.fileno()):
            raise ValueError(f"{path}: damaged")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        name: np.frombuffer(mapped, np.dtype(place.dtype), int(np.prod(place.shape)), place.offset).reshape(place.shape)
        for name, place in header.places.items()
    }


def _digest(header: _Header, number: int) -> str:
    hashed, at = hashlib.blake2b(digest_size=16), _HEADER
    hashed.update(msgspec.json.encode(msgspec.structs.replace(header, digest="")))
    while piece := os.pread(number, 1 << 20, at):
        hashed.update(piece)
        at += len(piece)
    return hashed.hexdigest()

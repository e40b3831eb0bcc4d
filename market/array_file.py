"""Named arrays in one file that opens as memory maps: a header (JSON, padded) with each array's place, then the arrays.

The header is written last, so that a file that was not finished is none.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

_HEADER = 8192
_ALIGNED = 64

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
    """Of this header without it, and of the arrays; empty where whoever wrote it wanted none."""


class ArrayWriter:
    """A file that is being made; its arrays are written piece by piece, and need not be in memory.

    Parameters
    ----------
    path : Path
        Written over where it is there.
    shapes : Shapes
        Type and shape of each array, by name.

    """

    def __init__(self, path: Path, shapes: Shapes) -> None:
        self._places = _places(shapes)
        self._file = path.open("w+b")
        self._file.truncate(_end(self._places))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, name: str, start: int, values: NDArray[np.generic]) -> None:
        """Write rows of an array from row `start` on."""
        place = self._places[name]
        row = place.size // max(place.shape[0], 1) if place.shape else place.size
        if values.size:
            self._file.seek(place.offset + start * row)
            self._file.write(np.ascontiguousarray(values, place.dtype).data.cast("B"))

    def finish(self, key: str, *, hashed: bool = True) -> None:
        """Write the header, after all else; `hashed` reads the arrays once more, so that `read_arrays` can check them.

        Raises
        ------
        ValueError
            The header has no room for so many arrays.

        """
        header = _Header(key, _end(self._places), self._places)
        if hashed:
            self._file.flush()
            header = msgspec.structs.replace(header, digest=_digest(header, self._file.fileno()))
        text = msgspec.json.encode(header)
        if len(text) > _HEADER:
            raise ValueError("too many arrays for one file")
        self._file.seek(0)
        self._file.write(text.ljust(_HEADER))


def read_arrays(path: Path, key: str, *, hashed: bool = True) -> Arrays:
    """Map a file's arrays, read-only; who maps them keeps them, even when the file is removed meanwhile.

    Parameters
    ----------
    path : Path
        As `ArrayWriter` finished it.
    key : str
        The one that it was finished with.
    hashed : bool
        Read all of it and check its hash; else its length alone, in no time.

    Raises
    ------
    OSError, ValueError
        It is not there, cut short, damaged or another's.

    """
    with path.open("rb") as file:
        try:
            header = msgspec.json.decode(file.read(_HEADER), type=_Header)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}: damaged") from error
        right = header.key == key and header.size == _end(header.places) == os.fstat(file.fileno()).st_size
        if not right or (hashed and header.digest != _digest(header, file.fileno())):
            raise ValueError(f"{path}: damaged")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        name: np.frombuffer(mapped, np.dtype(place.dtype), int(np.prod(place.shape)), place.offset).reshape(place.shape)
        for name, place in header.places.items()
    }


def file_size(shapes: Shapes) -> int:
    """Bytes of a file with arrays of these shapes."""
    return _end(_places(shapes))


def _places(shapes: Shapes) -> dict[str, _Place]:
    places, at = {}, _HEADER
    for name, (dtype, shape) in shapes.items():
        places[name] = place = _Place(np.dtype(dtype).str, shape, at)
        at += _padded(place.size)
    return places


def _end(places: dict[str, _Place]) -> int:
    return max((place.offset + _padded(place.size) for place in places.values()), default=_HEADER)


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _digest(header: _Header, number: int) -> str:
    hashed, at = hashlib.blake2b(digest_size=16), _HEADER
    hashed.update(msgspec.json.encode(msgspec.structs.replace(header, digest="")))
    while piece := os.pread(number, 1 << 20, at):
        hashed.update(piece)
        at += len(piece)
    return hashed.hexdigest()

"""Memory maps of files: pages that were read count as the process' memory until it gives them back."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def release(array: NDArray[Any], start: int, stop: int) -> None:
    """Give back the memory of rows `start` to `stop` of a mapped file, whose content is read again where it is needed.

    Does nothing to an array that is no read-only map. Rows that share a page with later ones stay.
    """
    mapped = _map_of(array)
    if mapped is None or stop <= start:
        return
    begin = np.frombuffer(mapped, np.uint8, 1).ctypes.data
    row = array.strides[0]
    first = array.ctypes.data - begin + start * row
    last = array.ctypes.data - begin + min(stop, len(array)) * row
    first, last = (place // mmap.PAGESIZE * mmap.PAGESIZE for place in (first, last))
    if last > first:
        mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def _map_of(array: NDArray[Any]) -> mmap.mmap | None:
    """The map that an array's memory lies in, where nobody can have written to it."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    with memoryview(base) as seen:
        return base if seen.readonly else None

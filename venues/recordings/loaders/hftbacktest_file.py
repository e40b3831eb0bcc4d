"""hftbacktest's files: one array of events, `data`, in an `.npz` (or alone, `.npy`), read in pieces.

Events of its version 2 are records (its `types.py`): flags, exchange and local time, price, quantity, order id. Those
of version 1 are six columns of numbers, a time of -1 where a side of the simulation is not to see the event.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from market.errors import DataError
from venues.recordings.loaders.base import open_binary

DEPTH: Final = 1
TRADE: Final = 2
CLEAR: Final = 3
SNAPSHOT: Final = 4
BEST_QUOTE: Final = 5
ADD: Final = 10
CANCEL: Final = 11
MODIFY: Final = 12
FILL: Final = 13
EXCHANGE_EVENT: Final = 1 << 31
LOCAL_EVENT: Final = 1 << 30
BUY_EVENT: Final = 1 << 29
SELL_EVENT: Final = 1 << 28
KIND: Final = 0xFF

EVENT = np.dtype(
    [("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8"), ("order_id", "<u8"),
     ("ival", "<i8"), ("fval", "<f8")]
)  # fmt: skip
ARRAY, NOTE = "data.npy", "cmm.json"
_ROWS = 65_536
_OLD_COLUMNS = 6
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, struct.error,
    SyntaxError, TypeError, tokenize.TokenError, MemoryError, OverflowError,
)  # fmt: skip
"""What zipfile and numpy raise for damaged files."""


class Note(msgspec.Struct, frozen=True):
    """What hftbacktest has no place for; it takes no notice of the member that holds it.

    In a file with a note `ival`, which hftbacktest leaves to its users, is by how much an event's exchange time was
    set back (ns).

    Parameters
    ----------
    instrument : str
    depth : int
        Levels a side that the feed shows, 0 for the whole book.

    """

    instrument: str
    depth: int = 0


def read_note(path: Path) -> Note | None:
    """The note of a file that was exported here."""
    try:
        with zipfile.ZipFile(path) as archive:
            return msgspec.json.decode(archive.read(NOTE), type=Note)
    except (*_BROKEN, OSError, msgspec.DecodeError):
        return None


def is_array(path: Path) -> bool:
    """Whether a file is an array of numpy's, or an archive of some."""
    with open_raw(path) as raw:
        start = raw.read(6)
    if start == b"\x93NUMPY":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (*_BROKEN, OSError):
        return False


@contextmanager
def open_raw(path: Path) -> Iterator[IO[bytes]]:
    """Open a file as it is, with a sentence for what fails."""
    try:
        with path.open("rb") as raw:
            yield raw
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def pieces(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the file's events, so many at a time; `ev` of version 1 as version 2 writes it."""
    try:
        with _open_array(path) as raw:
            dtype, columns, rows = _header(raw, path)
            left = rows
            while left:
                count = min(left, _ROWS)
                size = count * dtype.itemsize * (columns or 1)
                data = _read(raw, size)
                if len(data) < size:
                    raise DataError(f"{path}: the file ends within its events; copy it again")
                found = np.frombuffer(data, dtype)
                yield _from_columns(found.reshape(count, columns)) if columns else found.astype(EVENT)
                left -= count
    except _BROKEN as error:
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path}: not a sound file of hftbacktest ({text})") from error


@contextmanager
def _open_array(path: Path) -> Iterator[IO[bytes]]:
    with open_raw(path) as file:
        if file.read(2) != b"PK":
            with open_binary(path) as raw:
                yield raw
            return
        with zipfile.ZipFile(file) as archive:
            if ARRAY not in archive.namelist():
                raise DataError(f"{path}: it holds no array `data`, as hftbacktest's files do")
            with archive.open(ARRAY) as raw:
                yield raw


def _header(raw: IO[bytes], path: Path) -> tuple[np.dtype[Any], int, int]:
    """Type of the array, its columns (0 for records), and its rows."""
    version = np.lib.format.read_magic(raw)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise DataError(f"{path}: an array of numpy's format {version[0]}.{version[1]} is not read")
    shape, fortran, dtype = read(raw)
    if dtype.names is not None and dtype.itemsize == EVENT.itemsize and len(shape) == 1:
        if dtype.names == EVENT.names and all(dtype[name] == EVENT[name] for name in EVENT.names or ()):
            return dtype, 0, shape[0]
    elif dtype == np.float64 and len(shape) == 2 and shape[1] >= _OLD_COLUMNS and not fortran:
        return dtype, shape[1], shape[0]
    raise DataError(f"{path}: its array is not of hftbacktest's events")


def _read(raw: IO[bytes], size: int) -> bytes:
    """So many bytes, fewer at the end."""
    parts = []
    while size and (part := raw.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _from_columns(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (event, exchange time, local time, side, price, quantity) as records."""
    if not np.isfinite(rows[:, :4]).all():
        raise ValueError("an event without a time")
    events = np.zeros(len(rows), EVENT)
    kind, exchange, local, side = (rows[:, i].astype(np.int64) for i in range(4))
    events["ev"] = (
        (kind & KIND)
        | np.where(side > 0, BUY_EVENT, 0)
        | np.where(side < 0, SELL_EVENT, 0)
        | np.where(exchange > 0, EXCHANGE_EVENT, 0)
        | np.where(local > 0, LOCAL_EVENT, 0)
    ).astype(np.uint64)
    events["exch_ts"], events["local_ts"] = exchange, local
    events["px"], events["qty"] = rows[:, 4], rows[:, 5]
    return events

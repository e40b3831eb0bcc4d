"""Files that others read or that must outlive us: written whole, and locks that die with their process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock


@contextmanager
def written_beside(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path in the same folder that takes the name `path` when the block ends well, and is gone when it fails.

    A reader finds what stood there before or all of what is new, never a part.

    Parameters
    ----------
    path : Path
        Its folder exists.
    durable : bool
        Once the block has ended, what was written outlives a power cut.

    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        if durable:
            _flush(beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        _flush(path.parent)


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file beside and rename it; see `written_beside`."""
    with written_beside(path, durable=durable) as beside:
        beside.write_bytes(data)


def write_json(path: Path, value: object, *, durable: bool = False, indented: bool = False) -> None:
    """Write a value as JSON, whole; indented, for people to read."""
    data = msgspec.json.encode(value)
    write_whole(path, msgspec.json.format(data) + b"\n" if indented else data, durable=durable)


def read_json[T](path: Path, kind: type[T]) -> T | None:
    """Read what `write_json` wrote, None where it is missing or something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def lock_on(path: Path) -> FileLock:
    """Make a lock that one process holds at a time and that ends with it, however it ends.

    `acquire` does not wait: it raises `filelock.Timeout` where another one holds the lock. The file stays.
    """
    return FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)


def _flush(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""Segment files on disk: written frame by frame, each whole or not there; found again by instrument and day."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from market.errors import DataError
from venues.recordings.capture.format import (
    SUFFIX,
    Damage,
    Header,
    Mark,
    pack_frame,
    pack_start,
    read_header,
    read_segment,
)


class Segment:
    """A file that frames are appended to.

    What could not be written leaves nothing behind: the file is cut back to its last whole frame.

    Parameters
    ----------
    folder : Path
        Of all segments.
    header : Header

    Raises
    ------
    OSError
        It cannot be made.

    """

    def __init__(self, folder: Path, header: Header) -> None:
        home = folder / header.instrument / header.date
        home.mkdir(parents=True, exist_ok=True)
        when = dt.datetime.fromtimestamp(header.start_ns // 10**9, dt.UTC)
        self.path = home / f"{when:%Y%m%dT%H%M%S}.{header.start_ns % 10**9:09d}{SUFFIX}"
        self.header, self.size = header, 0
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._write(pack_start(header))
        except OSError:
            os.close(self._file)
            self.path.unlink(missing_ok=True)
            raise

    def append(self, records: Sequence[bytes]) -> int:
        """Write packed records as one frame; return its bytes. Raises `OSError`, and then nothing was written."""
        return self._write(pack_frame(records))

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Nothing more is written."""
        os.close(self._file)

    def _write(self, data: bytes) -> int:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)
        return len(data)


def is_begun(path: Path) -> bool:
    """Whether a segment's beginning is whole: a power cut may leave a file that holds nothing yet."""
    try:
        read_header(path)
    except DataError:
        return False
    return True


def segments(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """Segment files of a folder by instrument and trading day, in order of time."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob(f"*/*/*{SUFFIX}")):
        found.setdefault((path.parent.parent.name, path.parent.name), []).append(path)
    return found


def last_of(home: Path) -> tuple[int, bool] | None:
    """When the market was last heard of in a day's folder, and whether that recorder said its end; None if never."""
    for path in sorted(home.glob(f"*{SUFFIX}"), reverse=True):
        last, ended = 0, False
        try:
            for part in read_segment(path):
                if not isinstance(part, Damage) and part:
                    last = max([last, *(record.ts for record in part if not isinstance(record, Mark))])
                    ended = isinstance(part[-1], Mark) and part[-1].kind == "end"
        except DataError:
            continue
        if last:
            return last, ended
    return None

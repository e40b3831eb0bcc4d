"""A file of JSON lines that is only ever appended to: a line is there whole or, when the process dies, not at all."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class LineFile:
    """A new file; an existing one is an error.

    Parameters
    ----------
    path : Path
    header : Struct
        The first line.

    """

    def __init__(self, path: Path, header: msgspec.Struct) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._encoder = msgspec.json.Encoder()
        self.write(header)

    def write(self, value: msgspec.Struct) -> None:
        """Append a line."""
        line = self._encoder.encode(value) + b"\n"
        if os.write(self._fd, line) != len(line):
            raise OSError(f"{self.path}: the disk is full")

    def close(self) -> None:
        os.close(self._fd)

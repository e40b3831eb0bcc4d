"""Finished runs and journals, as the monitor opens them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.live.records.journal import Line, read_header
from engine.runs import final_name
from market.errors import ConfigError

_PAGE = 2000
_INDEXES = 4
_PAGES = ("report.html", "probe.html", "calibration.html", "inspect.html")


class Index:
    """Where each line of a journal begins; grows with the file.

    Attributes
    ----------
    header : Header

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as handle:
            first = handle.readline()
        try:
            self.header = read_header(first)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}: no journal, its first line is no header") from error
        self._read = len(first)
        self._starts: list[NDArray[np.int64]] = []
        self._all: NDArray[np.int64] = np.zeros(0, np.int64)

    def grow(self) -> int:
        """Take in what was written since; return the number of decisions."""
        size = self.path.stat().st_size
        if size > self._read:
            with self.path.open("rb") as handle:
                handle.seek(self._read)
                while self._read < size:
                    block = handle.read(min(1 << 24, size - self._read))
                    if not block:
                        break
                    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
                    if not len(ends):
                        break  # torn, or not yet whole
                    whole = int(ends[-1]) + 1
                    starts = np.concatenate(([0], ends[:-1] + 1)) + self._read
                    self._starts.append(starts.astype(np.int64))
                    self._read += whole
                    handle.seek(self._read)
            self._all = np.concatenate(self._starts) if self._starts else self._all
        return len(self._all)

    def lines(self, start: int, count: int) -> list[dict[str, Any]]:
        """Decisions start … start + count - 1 as the page shows them."""
        total = self.grow()
        start, stop = max(start, 0), min(start + min(count, _PAGE), total)
        if start >= stop:
            return []
        first = int(self._all[start])
        last = int(self._all[stop]) if stop < total else self._read
        with self.path.open("rb") as handle:
            handle.seek(first)
            rows = handle.read(last - first).splitlines()
        decoder = msgspec.json.Decoder(Line)
        return [_shown(start + i, decoder.decode(row)) for i, row in enumerate(rows)]

    def find(self, ts_ns: int) -> int:
        """First decision at or after a time."""
        low, high = 0, self.grow()
        with self.path.open("rb") as handle:
            while low < high:
                middle = (low + high) // 2
                handle.seek(int(self._all[middle]))
                if msgspec.json.decode(handle.readline(), type=Line).ts_ns < ts_ns:
                    low = middle + 1
                else:
                    high = middle
        return low


def _shown(index: int, line: Line) -> dict[str, Any]:
    return {
        "i": index, "ts_ms": line.ts_ns / 1e6, "market": line.market, "forecast": line.forecast, "fault": line.fault,
        "paused": line.paused, "bids": line.bids, "asks": line.asks, "position": line.risk[0],
        "ladder": line.ladder, "actions": line.actions, "bound": line.refusals,
    }  # fmt: skip


class Archive:
    """Runs under a folder, and journals there and in the state folders of traders.

    Parameters
    ----------
    runs : Path

    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._indexes: OrderedDict[Path, Index] = OrderedDict()

    def list_runs(self) -> list[dict[str, Any]]:
        """Finished runs, the newest first."""
        found = []
        for folder in sorted(self._folders(), reverse=True):
            if folder.name.startswith("."):  # still being written
                continue
            try:
                run = msgspec.json.decode((folder / "run.json").read_bytes())
            except (OSError, msgspec.DecodeError):
                continue
            pages = [name for name in _PAGES if (folder / name).is_file()]
            journals = [_id(path) for path in sorted(folder.glob("journal*.jsonl"))]
            if not isinstance(run, dict):
                continue
            found.append({
                "name": folder.name, "command": run.get("command"), "arguments": run.get("arguments"),
                "commit": run.get("git_commit"), "pages": pages, "journals": journals,
            })  # fmt: skip
        return found[:500]

    def page(self, run: str, name: str) -> Path | None:
        """A run's page, None where there is none of that name."""
        folder = next((f for f in self._folders() if f.name == run), None)
        if folder is None or name not in _PAGES or not (folder / name).is_file():
            return None
        return folder / name

    def list_journals(self, states: Iterable[Path]) -> list[dict[str, Any]]:
        """Journals of finished and running traders, the newest first."""
        rows: list[tuple[float, dict[str, Any]]] = []
        for path in self._journals(states):
            stat = path.stat()
            row = {"id": _id(path), "name": path.name, "folder": path.parent.name, "bytes": stat.st_size}
            rows.append((stat.st_mtime, row))
        return [row for _, row in sorted(rows, key=lambda pair: -pair[0])[:500]]

    def journal(self, key: str, states: Iterable[Path]) -> Index | None:
        """A journal by its id.

        Raises
        ------
        ConfigError
            It is none.

        """
        path = next((p for p in self._journals(states) if _id(p) == key), None)
        if path is None:
            return None
        if path not in self._indexes:
            self._indexes[path] = Index(path)
            while len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
        return self._indexes[path]

    def _folders(self) -> list[Path]:
        return [path.parent for path in self.runs.glob("*/run.json") if not path.parent.is_symlink()]

    def _journals(self, states: Iterable[Path]) -> list[Path]:
        found = set(self.runs.glob("*/journal*.jsonl"))
        for state in states:
            found |= set((state / "journal").glob("*.jsonl"))
        return [path for path in found if path.is_file() and not path.is_symlink()]


def _id(path: Path) -> str:
    """The same while a run goes on and after it has taken its name."""
    path = final_name(path.parent) / path.name
    return hashlib.blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()

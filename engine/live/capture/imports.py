"""Segments into the catalog: each day when it is over, by a process of its own, and what is left at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from engine.config import Config
from engine.progress import Progress
from engine.recordings.importing import Imports, import_files
from market.files import read_json, write_json
from venues.recordings.capture.segment import is_begun, segments

_DONE = "imported.json"
_TRIES = 5
_NICE = 10

type Sizes = dict[Path, int]
"""Bytes of a day's segments."""


class DayImports:
    """Knows which segments the catalog has, and brings the others there.

    A day's folder says which of its segments were imported (`imported.json`: bytes by name).

    Parameters
    ----------
    config : Config
    folder : Path
        Of the segments.
    say : callable
        Told of days that were imported, or could not be.

    """

    def __init__(self, config: Config, folder: Path, say: Callable[[str], None]) -> None:
        self._config, self._folder, self._say = config, folder, say
        self._running: tuple[subprocess.Popen[bytes], Sizes, IO[bytes]] | None = None
        self._failed: dict[Path, int] = {}

    def look(self, not_over: set[Path]) -> None:
        """See what became of the import that runs, and begin another one where a day waits.

        `not_over` are the folders of days that are still written to.
        """
        if self._running is not None:
            if self._running[0].poll() is None:
                return
            self._ended()
        waiting = self._waiting()
        for home, sizes in waiting.items():
            if home not in not_over and self._failed.get(home, 0) < _TRIES:
                self._begin(sizes)
                return

    def wait(self) -> None:
        """Until the import that runs has ended."""
        if self._running is not None:
            self._running[0].wait()
            self._ended()

    def finish(self, progress: Progress) -> Imports | None:
        """Import all that waits; None where nothing does."""
        self.wait()
        waiting = self._waiting()
        if not waiting:
            return None
        done = import_files(self._config, [path for sizes in waiting.values() for path in sizes], progress=progress)
        if done.failure is None:
            for sizes in waiting.values():
                _note(sizes)
        return done

    def stop(self) -> None:
        """End the import that runs; the catalog does not know of it."""
        if self._running is not None:
            self._running[0].terminate()
            self._running[0].wait()
            self._running[2].close()
            self._running = None

    def _waiting(self) -> dict[Path, Sizes]:
        """Segments that were not imported, or have grown since, by the folder of their day."""
        found = {}
        for files in segments(self._folder).values():
            home = files[0].parent
            known = read_json(home / _DONE, dict[str, int]) or {}
            sizes = {path: path.stat().st_size for path in files}
            new = {path: size for path, size in sizes.items() if known.get(path.name) != size and is_begun(path)}
            if new:
                found[home] = new
        return found

    def _begin(self, sizes: Sizes) -> None:
        settings = self._folder / "config.json"
        write_json(settings, self._config)
        errors = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "engine.cli", "import", "--config", str(settings), *map(str, sizes)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        self._running = (process, sizes, errors)

    def _ended(self) -> None:
        assert self._running is not None
        (process, sizes, errors), self._running = self._running, None
        home = next(iter(sizes)).parent
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().rpartition("\n")[2].removeprefix("error: ")
        errors.close()
        if process.returncode == 0:
            _note(sizes)
            self._say(f"{home.parent.name} {home.name}: {len(sizes)} segments are in the catalog")
            return
        self._failed[home] = self._failed.get(home, 0) + 1
        if self._failed[home] == _TRIES:
            self._say(f"{home}: could not be imported ({said}); it is kept, import it with `cmm import {home}/*`")


def _note(sizes: Sizes) -> None:
    """Note what of a day was imported: bytes as they were before it was read."""
    done = next(iter(sizes)).with_name(_DONE)
    write_json(done, (read_json(done, dict[str, int]) or {}) | {path.name: size for path, size in sizes.items()})

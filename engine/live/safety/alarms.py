"""Alarms: to the log at once, and to a webhook by a thread of its own, so that a slow receiver delays nothing."""

from __future__ import annotations

import queue
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import msgspec

_TRIES = 3
_TIMEOUT_S = 1.5


class Alarms:
    """Sends alarms out.

    Parameters
    ----------
    path : Path
        Log file, one JSON line an alarm.
    webhook : str, optional
        URL that each alarm is posted to as JSON.
    source : str
        Who raises them.

    """

    def __init__(self, path: Path, webhook: str | None, source: str) -> None:
        self._path, self._webhook, self._source = path, webhook, source
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        if webhook is not None:
            self._thread = threading.Thread(target=self._post_all, daemon=True, name="alarms")
            self._thread.start()

    def raise_(self, kind: str, text: str) -> None:
        """Raise an alarm."""
        alarm = {"ts_ns": time.time_ns(), "source": self._source, "kind": kind, "text": text}
        line = msgspec.json.encode(alarm)
        _say(f"ALARM {kind}: {text}")
        try:
            with self._path.open("ab") as handle:
                handle.write(line + b"\n")
        except OSError as error:  # a full disk must not keep the alarm from going out
            _say(f"ALARM log: {self._path}: {error.strerror}")
        if self._thread is not None:
            self._queue.put(line)

    def close(self, wait_s: float = 3.0) -> None:
        """Let what is under way go out."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(wait_s)

    def _post_all(self) -> None:
        assert self._webhook is not None
        while (line := self._queue.get()) is not None:
            for attempt in range(_TRIES):
                request = urllib.request.Request(self._webhook, line, {"Content-Type": "application/json"})
                try:
                    with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
                        break
                except OSError as error:
                    _say(f"ALARM webhook: try {attempt + 1} of {_TRIES}: {error}")


def _say(line: str) -> None:
    """Print, if there is somewhere to print to."""
    with suppress(OSError):
        print(line, flush=True)

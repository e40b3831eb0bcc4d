"""The state folder of one account and instrument: who runs, its heartbeat, and the latch that forbids trading.

`latch.json` stands from a trip until a person clears it; `stop.json` asks a running trader to stop;
`heartbeat.json` and `watchdog.json` are rewritten several times a second. Files are written beside
and renamed: a reader never sees half of one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
from filelock import Timeout

from engine.config import Config, override
from engine.config.kept import read_kept
from market.errors import ConfigError
from market.files import lock_on, read_json, write_json


class Latch(msgspec.Struct):
    """Why trading is forbidden, since when, and by whom."""

    reason: str
    detail: str
    ts_ns: int
    by: str


class StopRequest(msgspec.Struct):
    """Somebody wants the trader to stop; it may start again."""

    reason: str
    by: str
    ts_ns: int


class Heartbeat(msgspec.Struct):
    """What the trader says of itself."""

    pid: int
    mono_ns: int
    """The machine's monotonic clock, which all processes share and nobody sets."""
    beats: int
    phase: str
    """starting, trading, stopping or stopped."""
    position: int = 0
    fills: int = 0
    orders: list[str] = []
    """Client ids of all that may rest at the venue."""
    halted: str = ""
    problem: str = ""
    fault: str = ""
    pnl: float = 0.0
    mid: float | None = None
    budget_used: float = 0.0
    messages: int = 0


class WatchdogBeat(msgspec.Struct):
    """What the watchdog says of itself."""

    pid: int
    mono_ns: int
    audits: int = 0
    others_gross: float | None = None
    others_net: float | None = None
    lifeline: bool = False
    unreachable_s: float = 0.0


class StateFolder:
    """Paths and reading and writing of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_on(path / "lock")

    def take(self) -> None:
        """Become the one trader of this folder.

        Raises
        ------
        ConfigError
            Another one runs.

        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"{self.path}: another trader runs on this state folder; stop it, or set live.state to another folder"
            ) from error

    def release(self) -> None:
        self._lock.release()

    def is_taken(self) -> bool:
        """Whether a trader runs on this folder."""
        try:
            with lock_on(self.path / "lock"):
                return False
        except Timeout:
            return True

    # ── latch and stop ────────────────────────────────────────────────────────────────────────

    def latch(self, reason: str, detail: str, by: str) -> None:
        """Forbid trading until a person clears it; the first reason stands."""
        if self.latched() is None:
            self._write("latch.json", Latch(reason, detail, time.time_ns(), by), durable=True)

    def latched(self) -> Latch | None:
        """The latch, if there is one; one that cannot be read holds as well."""
        path = self.path / "latch.json"
        if not path.exists():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=Latch)
        except (OSError, msgspec.DecodeError) as error:
            return Latch("unreadable", f"{path}: {error}", 0, "unknown")

    def clear(self, reason: str) -> Latch | None:
        """Take the latch away, and keep it with the reason in `cleared.jsonl`."""
        found = self.latched()
        if found is None:
            return None
        line = msgspec.json.encode({"cleared_ns": time.time_ns(), "because": reason, "latch": found}) + b"\n"
        with (self.path / "cleared.jsonl").open("ab") as handle:
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())
        (self.path / "latch.json").unlink()
        return found

    def ask_to_stop(self, reason: str, by: str) -> None:
        self._write("stop.json", StopRequest(reason, by, time.time_ns()))

    def stop_request(self) -> StopRequest | None:
        return self._read("stop.json", StopRequest)

    def forget_stop(self) -> None:
        (self.path / "stop.json").unlink(missing_ok=True)

    # ── what the trader runs with ─────────────────────────────────────────────────────────────

    def keep_config(self, config: Config) -> Path:
        """Keep a trader's configuration for whoever has to act for it; return its file."""
        self._write("watchdog-config.json", config)
        return self.path / "watchdog-config.json"

    def kept_config(self) -> Config | None:
        """The configuration of the last trader, None where none can be read. Its state folder is this one: the
        path that it was given need not hold from where we run."""
        try:
            config = read_kept((self.path / "watchdog-config.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return override(config, {"live.state": str(self.path)})

    # ── beats ─────────────────────────────────────────────────────────────────────────────────

    def beat(self, beat: Heartbeat) -> None:
        self._write("heartbeat.json", beat)

    def heartbeat(self) -> Heartbeat | None:
        return self._read("heartbeat.json", Heartbeat)

    def watchdog_beat(self, beat: WatchdogBeat) -> None:
        self._write("watchdog.json", beat)

    def watchdog(self) -> WatchdogBeat | None:
        return self._read("watchdog.json", WatchdogBeat)

    def _write(self, name: str, value: msgspec.Struct, *, durable: bool = False) -> None:
        write_json(self.path / name, value, durable=durable)

    def _read[T](self, name: str, kind: type[T]) -> T | None:
        return read_json(self.path / name, kind)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc/self").exists()

"""Decision latency of a trader that nobody watches, one viewer watches, and five viewers that hardly read."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.market import simulated_day
from engine.config import SHIPPED, Config, MonitorConfig
from engine.live.trading.paper_run import replay_day
from engine.plan import Plan
from venues.recordings.catalog import Catalog, Day
from venues.simulation.queues import QueueConfig

_TURNS = 3
_MARKET_S = 240.0
_SPEED = 10.0


class _Viewer:
    """Reads the stream of looks, so many bytes at a time with a pause between."""

    def __init__(self, port: int, chunk: int, pause_s: float) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self._chunk, self._pause_s, self.bytes = chunk, pause_s, 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while got := self._socket.recv(self._chunk):
                self.bytes += len(got)
                time.sleep(self._pause_s)
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()


def _turn(catalog: Catalog, day: Day, folder: Path, viewers: int, slow: bool) -> tuple[np.ndarray, int]:
    sockets = folder / "sockets"
    sockets.mkdir(mode=0o700, exist_ok=True)
    config = msgspec.structs.replace(Config(), monitor=MonitorConfig(path=str(sockets)))
    plan = Plan(config, "cmm", SHIPPED, None, QueueConfig(model="power", n=1.1, bias=0.6))
    monitor: subprocess.Popen[str] | None = None
    watching: list[_Viewer] = []
    if viewers:
        command = [sys.executable, "-m", "engine.cli", "monitor", "--port", "0", f"--set=monitor.path={sockets}"]
        monitor = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert monitor.stdout is not None
        port = int(monitor.stdout.readline().rpartition(":")[2])
        watching = [_Viewer(port, 200 if slow else 1 << 16, 0.5 if slow else 0.0) for _ in range(viewers)]
    try:
        episode = replay_day(catalog, day, plan, _SPEED, folder / f"journal-{time.monotonic_ns()}.jsonl")
    finally:
        for viewer in watching:
            viewer.close()
        if monitor is not None:
            monitor.terminate()
            monitor.wait()
    return episode.recorder.decision_ns, sum(viewer.bytes for viewer in watching)


def main() -> None:
    """Print p50, p90 and p99 of each setting, taken in turns within one run."""
    settings = {"nobody": (0, False), "one viewer": (1, False), "five slow viewers": (5, True)}
    found: dict[str, list[np.ndarray]] = {name: [] for name in settings}
    read = dict.fromkeys(settings, 0)
    with tempfile.TemporaryDirectory() as scratch, simulated_day(_MARKET_S, 3) as (catalog, day):
        for _ in range(_TURNS):
            for name, (viewers, slow) in settings.items():
                times, count = _turn(catalog, day, Path(scratch), viewers, slow)
                found[name].append(times)
                read[name] += count
    print(f"decision with its journal line at {_SPEED:g} times the market's speed, µs, {_TURNS} turns")
    print(f"{'':<20}{'n':>9}{'p50':>8}{'p90':>8}{'p99':>8}{'KB read':>10}")
    for name, turns in found.items():
        times = np.concatenate(turns) / 1e3
        p50, p90, p99 = np.quantile(times, [0.5, 0.9, 0.99])
        print(f"{name:<20}{len(times):>9,}{p50:>8.0f}{p90:>8.0f}{p99:>8.0f}{read[name] / 1e3:>10,.0f}")

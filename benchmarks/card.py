"""The machine that numbers were measured on, and the core that they were measured on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import msgspec

_LIBRARIES = ("numpy", "numba", "onnxruntime", "nautilus_trader", "hftbacktest")


class Card(msgspec.Struct, frozen=True):
    """Processor, cores, versions and how busy it was: load averages of one minute, at the start and at the end."""

    cpu: str
    cores: int
    pinned_core: int | None
    system: str
    python: str
    versions: dict[str, str]
    load_at_start: float
    load_at_end: float

    def __str__(self) -> str:
        pinned = f"pinned to core {self.pinned_core}" if self.pinned_core is not None else "not pinned"
        found = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.cpu}, {self.cores} cores, {pinned}; {self.system}; Python {self.python}, {found}; "
            f"load {self.load_at_start:.1f} to {self.load_at_end:.1f}"
        )


class Timed(NamedTuple):
    """What something took: processor time of this process, and time on the wall, seconds."""

    cpu_s: float
    wall_s: float


def timed[T](call: Callable[[], T]) -> tuple[T, Timed]:
    """Call it; return what it returns and what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, Timed(time.process_time() - cpu, time.perf_counter() - wall)


def pin() -> int | None:
    """Keep this process on one core, the last it may use; returns it, None where the system has no such thing."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def load() -> float:
    """Processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def card(pinned_core: int | None, load_at_start: float) -> Card:
    """The card at the end of a benchmark."""
    return Card(
        _cpu(), os.cpu_count() or 1, pinned_core, platform.platform(terse=True), platform.python_version(), _versions(),
        load_at_start, load(),
    )  # fmt: skip


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    name = fields.get("model name", platform.processor() or platform.machine()).strip()
    numbers = [fields[key].strip() for key in ("cpu family", "model") if key in fields]
    return f"{name} (family {numbers[0]}, model {numbers[1]})" if len(numbers) == 2 else name


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

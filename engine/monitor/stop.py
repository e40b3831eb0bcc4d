"""The monitor's halt: a trader is told to stop, and somebody looks whether nothing rests any more."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import msgspec

from engine.config import Config
from engine.live.safety import halt as halting
from engine.live.safety.account import keys
from engine.live.safety.state import StateFolder
from engine.live.telemetry import halt_file
from engine.monitor.watched import Watched
from market.errors import ConfigError

_WAIT_S = 25.0
_LOOK_S = 0.05


class Halted(msgspec.Struct, frozen=True):
    """What came of it. `resting` is None where nobody could tell; `by` says who counted."""

    resting: int | None
    by: str
    position: int | None
    took_s: float
    ended: bool
    """Whether a live trader has left."""


async def halt(folder: Path, watched: Watched, reason: str) -> Halted:
    """Stop one trader.

    A paper trader is asked by a file and quotes no more. A live one is latched, which it sees within its
    heartbeat: it cancels everything, asks the venue, and leaves. Where the monitor has the venue's keys
    it does so too, by a line of its own, as `cmm halt` does; where the trader is dead, its watchdog has.

    Raises
    ------
    ConfigError
        A live trader's settings cannot be read; its latch stands all the same.

    """
    started = time.monotonic()
    if watched.about.state is None:
        return await _paper(folder, watched, started)
    state = StateFolder(Path(watched.about.state))
    await asyncio.to_thread(state.latch, "operator", reason, "monitor")
    config = state.kept_config()
    if config is None:
        raise ConfigError(f"{state.path}: the trader's configuration cannot be read; it is latched: use `cmm halt`")
    if _has_keys(config):
        done = await asyncio.to_thread(halting.halt, config, watched.about.instrument, reason, False)
        ended = not state.is_taken()
        return Halted(done.resting, "the venue, asked by the monitor", done.position, _since(started), ended)
    while time.monotonic() - started < config.live.start_s:
        if watched.frame.phase == "stopped" and watched.frame.resting is not None and not state.is_taken():
            break
        if watched.status == "dead" and any(alarm.get("kind") == "safe" for alarm in watched.alarms):
            return Halted(0, "the venue, asked by the watchdog", None, _since(started), True)
        await asyncio.sleep(_LOOK_S)
    resting = watched.frame.resting if watched.frame.phase == "stopped" else None
    by = "the venue, asked by the trader" if resting is not None else "nobody: look at the venue"
    return Halted(resting, by, watched.frame.position, _since(started), not state.is_taken())


async def _paper(folder: Path, watched: Watched, started: float) -> Halted:
    # the folder is the user's own (mode 0700): nobody else asks
    os.close(os.open(folder / halt_file(watched.about), os.O_CREAT | os.O_WRONLY, 0o600))
    while time.monotonic() - started < _WAIT_S:
        frame = watched.frame
        if watched.status in ("stopped", "dead") or (frame.halted and not frame.orders):
            ended = watched.status in ("stopped", "dead")  # and its paper venue with it
            return Halted(0, "the paper venue", frame.position, _since(started), ended)
        await asyncio.sleep(_LOOK_S)
    return Halted(None, "nobody: the trader does not answer", watched.frame.position, _since(started), False)


def _has_keys(config: Config) -> bool:
    try:
        keys(config.live)
    except ConfigError:
        return False
    return True


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)

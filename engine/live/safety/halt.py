"""`cmm halt`: stop a trader, running or dead, over a connection of its own, and see that nothing rests."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from engine.config import Config
from engine.live.errors import Exit
from engine.live.safety.account import NO_MID, Wound, cancel_everything, flatten, keys, open_client
from engine.live.safety.alarms import Alarms
from engine.live.safety.state import StateFolder
from engine.recordings.catalog import contract_table
from market.errors import ConfigError
from venues.live.account_client import AccountClientError

_VERIFY_S = 30.0


class Halt(msgspec.Struct, frozen=True):
    """What halting found."""

    exit: int
    was_running: bool
    resting: int | None
    position: int | None
    cancel_s: float


def halt(config: Config, instrument: str, reason: str, close_position: bool) -> Halt:
    """Latch, cancel everything by our own line, wait for the trader to leave, verify.

    Raises
    ------
    ConfigError
        No keys in the environment, or an unknown instrument. The latch stands all the same.

    """
    state = StateFolder(Path(config.live.state))
    state.latch("operator", reason, "cmm halt")
    was_running = state.is_taken()
    contract = contract_table(config).by_id(instrument)
    alarms = Alarms(state.path / "alarms.jsonl", config.live.webhook, "halt")
    alarms.raise_("halt", f"{contract.id}: {reason}")

    async def work() -> tuple[Wound, int | None]:
        client = open_client(config.live, contract, keys(config.live))
        try:
            await cancel_everything(client, _VERIFY_S)
            deadline = time.monotonic() + config.live.start_s
            while state.is_taken() and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            wound = await cancel_everything(client, _VERIFY_S)
            try:
                if close_position and (mid := await client.mid_ticks()) is not None:
                    await flatten(client, config.live.flatten.max_loss_bps, mid)
                elif close_position:
                    alarms.raise_("unsettled", f"{contract.id}: {NO_MID}")
                return wound, await client.position_lots()
            except AccountClientError:
                return wound, None
        finally:
            await client.close()

    wound, position = asyncio.run(work())
    if state.is_taken():
        alarms.raise_("unsafe", f"{contract.id}: the trader still runs after {config.live.start_s:g} s; kill it")
    alarms.close()
    safe = wound.resting == 0 and not state.is_taken()
    return Halt(int(Exit.OK if safe else Exit.UNSAFE), was_running, wound.resting, position, wound.seconds)


def clear(config: Config, reason: str) -> str:
    """Take the latch away; return a sentence on what it was.

    Raises
    ------
    ConfigError
        No reason was given, or a trader runs.

    """
    if not reason.strip():
        raise ConfigError("--clear: say with --reason why trading may start again")
    state = StateFolder(Path(config.live.state))
    if state.is_taken():
        raise ConfigError(f"{state.path}: a trader still runs there; wait until it has stopped")
    found = state.clear(reason)
    if found is None:
        return f"{state.path}: no latch stands"
    return f"{state.path}: cleared {found.reason} ({found.detail}), set by {found.by}"

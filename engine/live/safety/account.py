"""The account client, keys from the environment, and what every end of a run does: cancel and verify."""

from __future__ import annotations

import asyncio
import os
import time
from typing import NamedTuple

import aiohttp

from engine.config import LiveConfig
from engine.live.records.store import Store
from market.contracts import Contract
from market.errors import ConfigError
from venues.live.account_client import AccountClient, AccountClientError, VenueFill
from venues.live.adapters_config import urls
from venues.live.bybit import FLATTEN, BybitAccountClient

NO_MID = "the position is not closed: without a sound book there is no price to close it at"
_OVERLAP_NS = 600_000_000_000
_CLOCKS_NS = 1_000_000_000  # the venue's clock may be behind ours
_QUIET = 2  # looks in a row at which nothing rests


class Keys(NamedTuple):
    """Credentials; they live in memory only."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(…)"


def keys(config: LiveConfig) -> Keys:
    """Read the venue's keys from the environment."""
    names = [f"CMM_{config.venue.upper()}_{part}" for part in ("KEY", "SECRET")]
    found = [os.environ.get(name, "") for name in names]
    for name, value in zip(names, found, strict=True):
        if not value:
            raise ConfigError(f"{name}: not set in the environment; keys are read from nowhere else")
    return Keys(*found)


def open_client(config: LiveConfig, contract: Contract, credentials: Keys) -> AccountClient:
    """Open the account client of the configured venue."""
    if contract.exchange != config.venue.upper():
        raise ConfigError(
            f"instrument {contract.id}: live.venue {config.venue} trades instruments of {config.venue.upper()}"
        )
    return BybitAccountClient(contract, *credentials, urls(config.environment, config.base_url)[0], config.request_s)


class Wound(NamedTuple):
    """What was found when all had been cancelled."""

    resting: int | None
    """Orders that still rest; None where the venue did not say."""
    cancels: int
    seconds: float


async def cancel_everything(client: AccountClient, within_s: float) -> Wound:
    """Cancel until the venue says, more than once, that nothing rests."""
    started, quiet, tries, resting = time.monotonic(), 0, 0, None
    while time.monotonic() - started < within_s:
        try:
            if not quiet:
                tries += 1
                await client.cancel_all()
            resting = len(await client.open_orders())
            quiet = quiet + 1 if resting == 0 else 0
            if quiet == _QUIET:
                return Wound(0, tries, time.monotonic() - started)
        except (AccountClientError, aiohttp.ClientError, OSError):
            quiet, resting = 0, None
        await asyncio.sleep(0.15)
    return Wound(resting, tries, time.monotonic() - started)


async def recover_fills(client: AccountClient, store: Store) -> list[VenueFill]:
    """Bring the store up to what the venue lists; return what it had not known."""
    born = store.get("since_ns")
    if born is None:  # what was traded before this store is none of its business
        born = str(time.time_ns() - _CLOCKS_NS)
        store.put("since_ns", born)
    last = store.last_fill_ns()
    return store.recover(await client.fills(max(int(born), (last or 0) - _OVERLAP_NS)))


async def flatten(client: AccountClient, max_loss_bps: float, touch: float) -> int:
    """Close the position by one order that loses at most so much against a price; return what is left, lots."""
    lots = await client.position_lots()
    if lots:
        away = max_loss_bps * 1e-4 * touch
        limit = int(touch - away) if lots > 0 else int(touch + away) + 1
        await client.flatten(lots, limit)
        await asyncio.sleep(0.3)
        lots = await client.position_lots()
    return lots


def is_ours(link_id: str) -> bool:
    """Whether an order's client id is one of the trader's or of the account client's."""
    return link_id.startswith(("O-", FLATTEN))

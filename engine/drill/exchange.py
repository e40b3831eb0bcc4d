"""A loopback exchange to try a trader against: a simulated market or a recording, and keys made for it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from decimal import Decimal

import msgspec

from engine.config import Config
from engine.recordings.catalog import contract_table, open_catalog, select_days
from market.events import Event
from market.nautilus import Decoder, Instrument
from venues.loopback import market
from venues.loopback.bybit import LoopbackBybit


class Opened(msgspec.Struct, frozen=True):
    """An exchange that serves, and the keys of its one account."""

    symbol: str
    url: str
    key: str
    secret: str

    def __repr__(self) -> str:
        return f"Opened({self.symbol} at {self.url})"


def serve_exchange(
    events: Iterator[Event], config: Config, cash: float, opened: Callable[[Opened], None], *, port: int, speed: float
) -> None:
    """Serve until the market has ended, or until interrupted.

    Parameters
    ----------
    events : iterator
        The market that others make.
    config : Config
        Its tables name the contract.
    cash : float
        Of the account.
    opened : callable
        Told address and keys.
    port : int
        0 takes a free one.
    speed : float
        Times as fast as the market was.

    """
    contract = contract_table(config).by_id(market.SYMBOL)
    key, secret = f"loopback-{secrets.token_hex(4)}", secrets.token_hex(16)
    server = LoopbackBybit(market.terms_of(contract), key, secret, Decimal(str(cash)))

    async def serve() -> None:
        await server.start(port)
        opened(Opened(market.SYMBOL, server.url, key, secret))
        try:
            await market.feed(server, events, speed)
        finally:
            await server.stop()

    asyncio.run(serve())


def simulated_market(seed: int) -> Iterator[Event]:
    """An endless simulated market."""
    return market.simulated(seed)


def recorded_market(config: Config, instrument: str, dates: str | None = None) -> Iterator[Event]:
    """A recorded day of an instrument: the last of those named."""
    catalog = open_catalog(config)
    day = select_days(catalog, instrument, dates)[-1]
    return market.recorded(catalog, day, Decoder(Instrument(catalog.contract(day), day.depth)))

"""`cmm exchange`: a loopback exchange fed by the simulator or by a recording."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
from nautilus_trader.model import OrderBookDeltas

from market.contracts import Contract
from market.events import BookUpdate, Event, Trade
from market.nautilus import Decoder, batches
from venues.loopback.bybit import LoopbackBybit
from venues.loopback.orders import Terms
from venues.recordings.catalog import Catalog, Day
from venues.recordings.simulator import simulate

SYMBOL = "BTCUSDT-LINEAR.BYBIT"
_FOR_EVER_S = 30 * 86_400.0


def terms_of(contract: Contract) -> Terms:
    """A contract as the loopback exchange lists it."""
    t = contract.terms
    fees = t.fees
    return Terms(
        contract.symbol.removesuffix("-LINEAR"), t.tick, t.lot, Decimal(str(fees.maker)), Decimal(str(fees.taker)),
        coin=t.currency, base=t.base,
    )  # fmt: skip


def recorded(catalog: Catalog, day: Day, decoder: Decoder) -> Iterator[BookUpdate | Trade]:
    """A recorded day as events of the schema."""
    for deltas, trades in catalog.chunks(day):
        merged: list[Any] = [*batches(deltas), *trades]
        for event in sorted(merged, key=lambda e: e.ts_init):
            if isinstance(event, OrderBookDeltas):
                levels, clear = decoder.levels(event)
                yield BookUpdate(day.instrument, event.ts_event, event.ts_init, levels, clear)
            else:
                yield Trade(day.instrument, event.ts_event, event.ts_init, *decoder.trade(event))


def simulated(seed: int, lots: int = 1) -> Iterator[Event]:
    """An endless simulated market; sizes are multiplied by `lots`."""
    for event in simulate(seed, _FOR_EVER_S, 0):
        if isinstance(event, BookUpdate):
            yield msgspec.structs.replace(event, levels=[(s, p, q * lots) for s, p, q in event.levels])
        elif isinstance(event, Trade):
            yield msgspec.structs.replace(event, size=event.size * lots)


async def paced(events: Iterable[Event], speed: float) -> AsyncIterator[Event]:
    """Events as fast as they were, times `speed`."""
    first: int | None = None
    start = time.perf_counter()
    for event in events:
        first = event.ts_recv if first is None else first
        wait = (event.ts_recv - first) / 1e9 / speed - (time.perf_counter() - start)
        if wait > 0:
            await asyncio.sleep(wait)
        yield event


async def feed(exchange: LoopbackBybit, events: Iterable[Event], speed: float) -> None:
    """Let a market run at an exchange."""
    async for event in paced(events, speed):
        await exchange.feed(event)

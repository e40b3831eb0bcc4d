"""Replays a recording in wall-clock time: a Nautilus market data client, and the clock that goes with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from nautilus_trader.live import DataClientConfig
from nautilus_trader.live.clients import MarketDataClient
from nautilus_trader.model import OrderBookDeltas, TradeTick

from market.nautilus import batches, nautilus_instrument
from venues.recordings.catalog import Catalog, Day

type Update = OrderBookDeltas | TradeTick

_SECOND = 1_000_000_000
_TOO_LATE_S = 120.0  # something hangs; a slow machine does not


class ReplayClock:
    """The recording's time: that of the last event, and between events as fast as `speed` says.

    A speed of 0 is as fast as it goes: time then stands still between events, as in a backtest.

    Parameters
    ----------
    start_ns : int
        Where the recording begins.
    speed : float
    wall : callable
        The time of this machine, seconds.

    """

    def __init__(self, start_ns: int, speed: float, wall: Callable[[], float] = time.perf_counter) -> None:
        self.speed, self._wall = speed, wall
        self._event_ns, self._next_ns = start_ns, start_ns
        self._start_ns, self._began = start_ns, wall()

    def start(self) -> None:
        """Time runs from now on."""
        self._began = self._wall()

    def now(self) -> int:
        """Recording time, ns; never beyond the next event."""
        if not self.speed:
            return self._event_ns
        mapped = self._start_ns + round((self._wall() - self._began) * self.speed * 1e9)
        return max(self._event_ns, min(mapped, self._next_ns))

    def wait_s(self, ts_ns: int) -> float:
        """Wall seconds until a moment of the recording."""
        if not self.speed:
            return 0.0
        return (ts_ns - self._start_ns) / 1e9 / self.speed - (self._wall() - self._began)

    def expect(self, ts_ns: int) -> None:
        self._next_ns = max(ts_ns, self._next_ns)

    def reach(self, ts_ns: int) -> None:
        self._event_ns = self._next_ns = max(ts_ns, self._event_ns)


class ReplayConfig(DataClientConfig):
    """Of a replay client; it has no settings of Nautilus' own."""


class Replay(MarketDataClient):
    """Streams one recorded day.

    Each event is first shown to the venue (`market`), whose answers go out before the event itself,
    and the next one follows when the strategy has taken this one (`taken` counts events): a slow
    strategy is never overrun, it is late.

    Parameters
    ----------
    catalog, day : Catalog, Day
    clock_ : ReplayClock
    market : callable
        Takes an event; returns whether the strategy still has to hear of fills before it goes on.
    each_second : callable
        Called with recording times one second apart.
    settle : callable
        Whether everything that was sent has arrived.
    done : callable
        Called at the end, with an exception where there was one.
    progress : callable
        Called with recording times.

    """

    def __init__(
        self,
        catalog: Catalog,
        day: Day,
        clock_: ReplayClock,
        market: Callable[[Update], None],
        each_second: Callable[[int], None],
        settle: Callable[[], bool],
        taken: Callable[[], int],
        done: Callable[[Exception | None], None],
        progress: Callable[[int], None],
        **client: Any,
    ) -> None:
        super().__init__(**client)
        self._catalog, self._day, self._replay_clock = catalog, day, clock_
        self._market, self._each_second, self._settle = market, each_second, settle
        self._taken, self._done, self._progress = taken, done, progress
        self._subscribed = 0

    async def _connect(self) -> None:
        self._handle_instrument(nautilus_instrument(self._catalog.contract(self._day), self._day.date))

    async def _disconnect(self) -> None:
        pass

    async def _subscribe_book_deltas(self, command: object) -> None:
        self._begin()

    async def _subscribe_trades(self, command: object) -> None:
        self._begin()

    async def _unsubscribe_book_deltas(self, command: object) -> None:
        pass

    async def _unsubscribe_trades(self, command: object) -> None:
        pass

    def _begin(self) -> None:
        self._subscribed += 1
        if self._subscribed == 2:
            self.create_task(self._run(), "replay")

    async def _run(self) -> None:
        try:
            await self._stream()
        except Exception as error:
            self._done(error)
            return
        self._done(None)

    async def _stream(self) -> None:
        clock = self._replay_clock
        clock.start()
        check: int | None = None
        for sent, event in enumerate(self._events(), start=1):
            ts = event.ts_init
            if check is None:
                check = ts + _SECOND
            while check < ts:
                await self._reach(check)
                self._each_second(check)
                await self._settled()
                check += _SECOND
            await self._reach(ts)
            self._market(event)
            await self._settled()
            self._handle_data(event)
            await self._until(lambda: self._taken() >= sent)  # noqa: B023
            await self._settled()
            if sent % 512 == 0:
                self._progress(ts)

    async def _reach(self, ts_ns: int) -> None:
        clock = self._replay_clock
        clock.expect(ts_ns)
        wait = clock.wait_s(ts_ns)
        if wait > 0:
            await asyncio.sleep(wait)
        clock.reach(ts_ns)

    async def _settled(self) -> None:
        await self._until(self._settle)

    @staticmethod
    async def _until(holds: Callable[[], bool]) -> None:
        since = time.perf_counter()
        while not holds():
            await asyncio.sleep(0)
            if time.perf_counter() - since > _TOO_LATE_S:
                raise RuntimeError(f"strategy and venue have not settled for {_TOO_LATE_S:g} s")

    def _events(self) -> Iterator[Update]:
        for deltas, trades in self._catalog.chunks(self._day):
            events: list[Update] = [*batches(deltas), *trades]
            yield from sorted(events, key=lambda event: event.ts_init)

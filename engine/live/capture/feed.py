"""Market data on their way from Nautilus' adapters to the recorder, with what happens to the connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from nautilus_trader.common import DataActor, SocketState, SocketStateChanged
from nautilus_trader.model import BookType, InstrumentId, OrderBookDeltas, TradeTick

from market.contracts import Contract
from market.errors import DataError
from strategies.callbacks import guarded
from venues.live.server_clock import Offset
from venues.recordings.capture.format import MarkKind
from venues.recordings.capture.recorder import Recorder

_TICK_NS = 200_000_000


class Clocks:
    """Asks the venues for their time, in a thread of its own.

    Parameters
    ----------
    ask : dict
        By venue, a function that asks it; None is no answer.
    every_s : float

    """

    def __init__(self, ask: dict[str, Callable[[], Offset | None]], every_s: float) -> None:
        self.news: dict[str, Offset] = {}
        """Answers since somebody took them."""
        self._ask, self._every_s = ask, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="clocks")
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while True:
            for venue, ask in self._ask.items():
                offset = ask()
                if offset is not None:
                    self.news[venue] = offset
            if self._ended.wait(self._every_s):
                return


class Feed(DataActor):
    """Subscribes to book and trades of each instrument, and records what comes.

    Parameters
    ----------
    contracts : list[Contract]
        In the recorder's order.
    recorder : Recorder
    clocks : Clocks
    depth : int or None
    silent_s : float
        A venue that has sent nothing for so long is asked for its books again.
    each_tick : callable
        Called a few times a second, on this thread.
    stop : callable
        Called when something went wrong.

    """

    def __new__(cls, *args: object, **kwargs: object) -> Feed:
        return super().__new__(cls)

    def __init__(
        self, contracts: list[Contract], recorder: Recorder, clocks: Clocks, depth: int | None, silent_s: float,
        each_tick: Callable[[], None], stop: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self.failure: Exception | None = None
        self.has_started = False
        self.has_books = False
        """Whether each instrument's book has come."""
        self.breaks = 0
        """Connections that were lost."""
        self.offsets: dict[str, Offset] = {}
        self._contracts, self._recorder, self._clocks = contracts, recorder, clocks
        self._depth, self._silent_ns, self._each_tick = depth, round(silent_s * 1e9), each_tick
        self._stop = stop
        self._ids = [InstrumentId.from_str(contract.id) for contract in contracts]
        self._lanes = {contract.id: lane for lane, contract in enumerate(contracts)}
        self._venues = sorted({contract.exchange for contract in contracts})
        self._heard = dict.fromkeys(self._venues, (0, 0))  # by our clock that nobody sets, and by arrival
        self._bookless = set(range(len(contracts)))
        self._asked_ns: dict[int, int] = {}

    def fail(self, error: Exception) -> None:
        """Keep what went wrong, and end."""
        self.failure = self.failure or error
        self._stop()

    @guarded
    def on_start(self) -> None:
        self.clock.set_timer_ns("tick", _TICK_NS, None, None, lambda _: self._on_tick())
        self.has_started = True
        for contract, instrument_id in zip(self._contracts, self._ids, strict=True):
            self._check(contract, self.cache.instrument(instrument_id))
        self.subscribe_socket_state()
        self._heard = dict.fromkeys(self._venues, (time.monotonic_ns(), time.time_ns()))
        for instrument_id in self._ids:
            self.subscribe_book_deltas(instrument_id, BookType.L2_MBP, self._depth)
            self.subscribe_trades(instrument_id)

    @staticmethod
    def _check(contract: Contract, listed: object) -> None:
        if listed is None:
            raise DataError(f"{contract.id}: the venue lists no such instrument")
        tick, lot = (getattr(listed, name).as_decimal() for name in ("price_increment", "size_increment"))
        if (tick, lot) != (contract.terms.tick, contract.terms.lot):
            raise DataError(
                f"{contract.id}: the venue counts in ticks of {tick} and lots of {lot}, the contract table in "
                f"{contract.terms.tick} and {contract.terms.lot}; correct the table (data.contracts)"
            )

    @guarded
    def on_book_deltas(self, deltas: OrderBookDeltas) -> None:
        lane = self._lanes[str(deltas.instrument_id)]
        self._heard[self._contracts[lane].exchange] = (time.monotonic_ns(), deltas.ts_init)
        if self._recorder.book(lane, deltas) and self._bookless:
            self._bookless.discard(lane)
            self.has_books = not self._bookless

    @guarded
    def on_trade(self, trade: TradeTick) -> None:
        lane = self._lanes[str(trade.instrument_id)]
        self._heard[self._contracts[lane].exchange] = (time.monotonic_ns(), trade.ts_init)
        self._recorder.trade(lane, trade)

    @guarded
    def on_socket_state(self, event: SocketStateChanged) -> None:
        is_down = event.state == SocketState.DISCONNECTED
        self.breaks += is_down
        kind: MarkKind = "disconnected" if is_down else "connected"
        for lane in self._of(str(event.venue or event.client_id)):
            self._recorder.mark(lane, kind, event.ts_init, text=event.endpoint)

    @guarded
    def _on_tick(self) -> None:
        now = time.time_ns()
        for venue in list(self._clocks.news):
            offset = self.offsets[venue] = self._clocks.news.pop(venue)
            for lane in self._of(venue):
                value, took = round(offset.offset_s * 1e9), round(offset.took_s * 1e9)
                self._recorder.mark(lane, "clock", now, value=value, since=took)
        passed = time.monotonic_ns()
        for venue, (heard, since) in self._heard.items():
            if passed - heard > self._silent_ns:
                self._heard[venue] = (passed, since)
                for lane in self._of(venue):
                    self._recorder.mark(lane, "silent", now, since=since)
                    self._ask_for_book(lane, passed)
        for lane in self._recorder.asks_for_book:
            self._ask_for_book(lane, passed)
        self._recorder.pump()
        self._each_tick()

    def _of(self, venue: str) -> list[int]:
        return [lane for lane, contract in enumerate(self._contracts) if contract.exchange == venue]

    def _ask_for_book(self, lane: int, passed: int) -> None:
        """A new subscription begins with the whole book; not asked for more often than a silence is noticed."""
        if lane in self._asked_ns and passed - self._asked_ns[lane] < self._silent_ns:
            return
        self._asked_ns[lane] = passed
        self.unsubscribe_book_deltas(self._ids[lane])
        self.subscribe_book_deltas(self._ids[lane], BookType.L2_MBP, self._depth)

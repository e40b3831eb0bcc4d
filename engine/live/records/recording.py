"""What a trader saw of the market, recorded as `cmm capture` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nautilus_trader.model import OrderBookDeltas, TradeTick

from engine.config import CaptureConfig
from engine.recordings.captured import RECORDING
from market.contracts import Contract
from market.errors import ConfigError
from market.events import ASK, BID, Level
from strategies.observer import Observer
from venues.live.adapters_config import BOOK_DEPTHS
from venues.recordings.capture.recorder import Recorder, header_of, room_on, session_name
from venues.recordings.capture.writer import Setup

_EVERYTHING = 1 << 20

type _Shown = Callable[[int], tuple[list[tuple[int, int]], list[tuple[int, int]]]]
"""Best levels of a book as (price, lots), bids and asks."""


def make_recorder(
    settings: CaptureConfig, folder: Path, contracts: Sequence[Contract], source: str, depth: int | None = None
) -> Recorder:
    """A recorder of some instruments into a folder of segments."""
    depth = depth if depth is not None else settings.depth
    session = session_name()
    headers = [
        header_of(
            contract,
            depth=BOOK_DEPTHS.get(contract.exchange, 0) if depth is None else depth,
            source=source,
            session=session,
        )
        for contract in contracts
    ]
    setup = Setup(
        folder=str(folder), headers=headers, sessions=[contract.sessions for contract in contracts],
        flush_s=settings.flush_s, segment_mb=settings.segment_mb, segment_minutes=settings.segment_minutes,
        queue_mb=settings.queue_mb, min_free_mb=settings.min_free_mb, retry_s=settings.retry_s,
    )  # fmt: skip
    return Recorder(setup, contracts)


def refuse_full_disk(folder: Path, settings: CaptureConfig) -> None:
    """Raise `ConfigError` where a recording would end at once."""
    free = room_on(folder) / 1e6
    if free < settings.min_free_mb:
        raise ConfigError(
            f"{folder}: {free:,.0f} MB are left on the disk, capture.min_free_mb asks for {settings.min_free_mb:g}; "
            "make room, or set capture.path"
        )


class TraderRecording(Observer):
    """Records the book and the trades that a maker is shown.

    On the trading thread this costs the encoding, after the maker has acted; the rest is the writer's. What goes
    wrong ends the recording with an alarm, never the trading.

    Parameters
    ----------
    settings : CaptureConfig
    folder : Path
        Of the run or the trader's state.
    contract : Contract
    depth : int
        Of the feed, as the trader has it.
    source : str
        `paper` or `live`.
    alarm : callable
        Told kind and text.

    """

    def __init__(
        self, settings: CaptureConfig, folder: Path, contract: Contract, depth: int, source: str,
        alarm: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.folder = folder / RECORDING
        self.folder.mkdir(parents=True, exist_ok=True)
        refuse_full_disk(self.folder, settings)
        self._contract, self._alarm = contract, alarm
        self._recorder = make_recorder(settings, self.folder, [contract], source, depth)
        self._has_failed = self._has_lost = False
        self._shown: _Shown | None = None

    def bind(self, shown: _Shown) -> None:
        """The maker's book, for when the recorder has lost it."""
        self._shown = shown

    def on_book(self, deltas: OrderBookDeltas) -> None:
        if self._has_failed:
            return
        try:
            self._recorder.book(0, deltas)
            if self._recorder.asks_for_book and self._shown is not None:
                bids, asks = self._shown(_EVERYTHING)
                levels: list[Level] = [(side, *level) for side, rows in ((BID, bids), (ASK, asks)) for level in rows]
                self._recorder.book_anew(0, levels, deltas.ts_init)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")

    def on_trade(self, trade: TradeTick) -> None:
        if self._has_failed:
            return
        try:
            self._recorder.trade(0, trade)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")

    def by_timer(self) -> None:
        """Hand over what waits, and look how the writer stands."""
        self._recorder.pump()
        if self._recorder.failure:
            self._fail(self._recorder.failure)
        if self._recorder.lost and not self._has_lost:
            self._has_lost = True
            self._alarm("recording", f"{self._contract.id}: the writer is behind: market data are not all recorded")

    def close(self) -> None:
        """Write all there is."""
        self._recorder.close(10.0)
        self.by_timer()

    def _fail(self, why: str) -> None:
        """Record no more, and say so once."""
        if not self._has_failed:
            self._has_failed = True
            self._alarm("recording", f"{self._contract.id}: market data are no longer recorded: {why}")

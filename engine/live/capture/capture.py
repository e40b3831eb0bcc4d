"""`cmm capture` from start to summary: venues' public data into segment files and into the catalog, for weeks."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from filelock import Timeout
from nautilus_trader.live import LiveNode

from engine.config import Config
from engine.live.capture.feed import Clocks, Feed
from engine.live.capture.imports import DayImports
from engine.live.records.recording import make_recorder, refuse_full_disk
from engine.live.trading.node import Stopper, make_builder
from engine.progress import SILENT, Line, Progress
from engine.recordings.catalog import contract_table
from market.contracts import Contract
from market.errors import ConfigError, DataError
from market.files import lock_on
from market.sessions import SessionClock
from venues.live.adapters import add_public_data
from venues.live.server_clock import Offset, ask, time_url
from venues.recordings.capture.recorder import Recorder
from venues.recordings.capture.writer import LaneStatus
from venues.recordings.importer import Imported

_LOOK_S = 30.0
_LONGEST_WAIT_S = 60.0
_RATE_S = 10.0
_WRITERS = 3
_MARGIN_S = 1.0
"""A minute that is asked for holds a minute of book: updates do not come on its edges."""
_MB = 1e6


class CapturedInstrument(msgspec.Struct, frozen=True):
    """What was recorded of one instrument; `gaps` are books that were sent anew, `lost` records that found no room."""

    instrument: str
    updates: int
    trades: int
    per_s: float
    gaps: int
    lost: int


class Captured(msgspec.Struct, frozen=True):
    """What a run of the recorder came to; offsets of the venues' clocks against ours in ms."""

    folder: str
    seconds: float
    written: int
    segments: int
    instruments: list[CapturedInstrument]
    breaks: int
    offset_ms: dict[str, float]
    imported: list[Imported]
    failure: str = ""


def capture(
    config: Config, venues: list[str], instruments: list[str], minutes: float = 0.0, progress: Progress = SILENT
) -> Captured:
    """Record until stopped, for so many minutes, or until the disk gives out.

    Parameters
    ----------
    config : Config
    venues : list[str]
        Names of adapters.
    instruments : list[str]
        E.g. BTCUSDT-LINEAR.BYBIT; each of one of the venues.
    minutes : float
        Counted from when all books are there; 0: until stopped.
    progress : Progress

    Raises
    ------
    ConfigError
        A venue without an adapter, an instrument without a venue or the other way round; another capture records here.
    DataError
        An unknown instrument, other terms at the venue, or the venue cannot be reached.

    """
    contracts = _choose(config, venues, instruments)
    folder = Path(config.capture.path or Path(config.data.path) / "capture")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}; set capture.path or data.path") from error
    refuse_full_disk(folder, config.capture)
    lock = lock_on(folder / ".lock")
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"{folder}: another capture records here; wait for it, or take another --set capture.path=…"
        ) from error
    try:
        return _Capture(config, contracts, folder, minutes, progress).run()
    finally:
        lock.release()


def _choose(config: Config, venues: list[str], instruments: list[str]) -> list[Contract]:
    for venue in venues:
        if not hasattr(config.adapters, venue):
            raise ConfigError(f"--venue {venue}: no adapter; known are {', '.join(config.adapters.__struct_fields__)}")
        if not any(name.endswith(f".{venue.upper()}") for name in instruments):
            raise ConfigError(f"--venue {venue}: no instrument of it is named (--instruments ….{venue.upper()})")
    for name in instruments:
        if name.rpartition(".")[2].lower() not in venues:
            raise ConfigError(f"--instruments {name}: --venue does not name its venue ({', '.join(venues)})")
    table = contract_table(config)
    return [table.by_id(name) for name in dict.fromkeys(instruments)]


class _Capture:
    """One run: a node that is started again when it ends by itself, a recorder, clocks, imports."""

    def __init__(
        self, config: Config, contracts: list[Contract], folder: Path, minutes: float, progress: Progress
    ) -> None:
        self._config, self._contracts, self._folder = config, contracts, folder
        self._minutes, self._progress = minutes, progress
        self._by_venue: dict[str, list[str]] = {}
        for contract in contracts:
            self._by_venue.setdefault(contract.exchange.lower(), []).append(contract.id)
        self._stopper = Stopper()
        self._recorder: Recorder
        self._clocks: Clocks
        self._feed: Feed
        self._imports = DayImports(config, folder, progress.note)
        self._began = time.monotonic()
        self._counts_from, self._had_books = self._began, False
        self._looked = self._shown = 0.0
        self._breaks, self._offset_ms = 0, dict[str, float]()
        self._earlier: list[tuple[list[LaneStatus], int, int]] = []  # of writers that ended
        self._rate = (self._began, 0, 0)
        self._failing = ""
        self._line: Line = lambda _: None

    def run(self) -> Captured:
        self._recorder = self._new_recorder()
        self._clocks = Clocks(self._askers(), self._config.capture.clock_s)
        try:
            with self._stopper.signals(), self._progress.lines("capturing") as self._line:
                self._record()
        finally:
            self._recorder.close()
            self._clocks.close()
            self._imports.stop()
        failure = self._sentence()
        imported = list[Imported]()
        if self._config.capture.into_catalog and not failure:
            try:
                done = self._imports.finish(self._progress)
            except DataError as error:  # somebody else imports, say: the next start does it
                failure = str(error)
            else:
                imported, failure = (done.done, str(done.failure or "")) if done is not None else ([], "")
        return self._summary(imported, failure)

    def _sentence(self) -> str:
        """What ended the recording, and what there is of it; empty where all is well."""
        status = self._recorder.status
        if not self._recorder.failure or status is None:
            return self._recorder.failure
        kept = max((lane.kept_ns for lane in status.lanes), default=0)
        when = dt.datetime.fromtimestamp(kept // 10**9, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        what = f"what came until {when} is whole and is imported by the next start" if kept else "nothing was recorded"
        return f"recording ended: {self._recorder.failure}; {what}; make room and start again"

    def _record(self) -> None:
        """Run a node; start it again when it ends by itself, later each time."""
        wait_s, has_recorded, writers = 1.0, False, 1
        while not self._stopper.asked.is_set():
            started = time.monotonic()
            feed = self._run_node()
            self._breaks += feed.breaks
            if feed.failure is not None:
                raise feed.failure
            has_recorded |= feed.has_started
            if self._recorder.failure:
                if self._recorder.gave_up or writers == _WRITERS:
                    return
                writers += 1
                self._progress.note(f"ALARM capture: {self._recorder.failure}; another one is started")
                self._replace_recorder()
            elif self._stopper.asked.is_set():
                return
            elif not has_recorded:
                raise DataError(f"{', '.join(self._by_venue)}: no connection; nothing was recorded")
            else:
                wait_s = 1.0 if time.monotonic() - started > _LONGEST_WAIT_S else min(2 * wait_s, _LONGEST_WAIT_S)
                self._progress.note(f"ALARM capture: the node ended by itself; another one starts in {wait_s:g} s")
                self._stopper.asked.wait(wait_s)

    def _run_node(self) -> Feed:
        builder = make_builder(live=False)
        for venue, names in self._by_venue.items():
            builder = add_public_data(builder, venue, getattr(self._config.adapters, venue), *names)
        settings = self._config.capture
        feed = Feed(
            self._contracts, self._recorder, self._clocks, settings.depth, settings.silent_s, self._on_tick,
            self._stop_node,
        )  # fmt: skip
        node: LiveNode = builder.build()
        node.add_actor(feed)
        self._stopper.bind(node)
        self._feed, self._stop = feed, node.handle().stop
        self._is_listening = False
        try:
            node.run()
        finally:
            self._stopper.bind(None)
        return feed

    def _stop_node(self) -> None:
        self._stop()

    def _on_tick(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._stopper.listen_again()
        if self._recorder.failure:
            self._stop_node()
        status = self._recorder.status
        failing = status.failing if status is not None else ""
        if failing != self._failing:
            self._failing = failing
            retry_s = self._config.capture.retry_s
            self._progress.note(
                f"ALARM capture: not written, tried again for {retry_s:g} s: {failing}"
                if failing
                else "capture: all is written again"
            )
        now = time.monotonic()
        if self._feed.has_books and not self._had_books:
            self._had_books, self._counts_from = True, now
        if self._minutes and now - self._counts_from > self._minutes * 60 + _MARGIN_S:
            self._stopper.stop()
        if status is not None and now - self._looked > _LOOK_S and self._config.capture.into_catalog:
            self._looked = now
            self._imports.look(self._not_over([lane.segment for lane in status.lanes]))
        if now - self._shown > 1.0:
            self._shown = now
            self._line(self._how_it_goes(now))

    def _not_over(self, open_segments: list[str]) -> set[Path]:
        """Folders of days that are still written to, or about to be."""
        now = time.time_ns()
        days = {
            self._folder / contract.id / str(SessionClock(contract.sessions).trading_day(now))
            for contract in self._contracts
        }
        return days | {Path(segment).parent for segment in open_segments if segment}

    def _how_it_goes(self, now: float) -> str:
        status = self._recorder.status
        if status is None:
            return "waiting for data"
        self._offset_ms |= {venue: 1e3 * offset.offset_s for venue, offset in self._feed.offsets.items()}
        lanes = [*status.lanes, *(lane for lanes, _, _ in self._earlier for lane in lanes)]
        updates, trades, lost = (sum(getattr(lane, name) for lane in lanes) for name in ("updates", "trades", "lost"))
        total = status.written + sum(written for _, written, _ in self._earlier)
        since, count, written = self._rate
        took = max(now - since, 1e-9)
        if took > _RATE_S:
            self._rate = (now, updates + trades, total)
        offsets = ", ".join(f"{venue.lower()} {ms:+.1f} ms" for venue, ms in sorted(self._offset_ms.items()))
        parts = [
            f"{updates:,} updates, {trades:,} trades ({(updates + trades - count) / took:,.0f}/s)",
            f"{total / _MB:,.1f} MB ({(total - written) / took / 1e3:,.1f} kB/s)",
            f"{status.free / _MB:,.0f} MB free",
            f"{_gaps(lanes, len(self._contracts))} gaps", f"{self._breaks + self._feed.breaks} breaks",
            *([f"{lost:,} LOST"] if lost else []), *([f"clock {offsets}"] if offsets else []),
            *([f"NOT WRITTEN: {status.failing}"] if status.failing else []),
        ]  # fmt: skip
        return " · ".join(parts)

    def _summary(self, imported: list[Imported], failure: str) -> Captured:
        self._keep_status()
        seconds = time.monotonic() - self._began
        found = []
        for index, contract in enumerate(self._contracts):
            lanes = [lanes[index] for lanes, _, _ in self._earlier]
            updates, trades = sum(lane.updates for lane in lanes), sum(lane.trades for lane in lanes)
            rate = (updates + trades) / max(seconds, 1e-9)
            lost = sum(lane.lost for lane in lanes)
            found.append(CapturedInstrument(contract.id, updates, trades, round(rate, 3), _gaps(lanes, 1), lost))
        written, count = (
            sum(numbers) for numbers in ([w for _, w, _ in self._earlier], [n for *_, n in self._earlier])
        )
        offsets = {venue.lower(): round(ms, 3) for venue, ms in self._offset_ms.items()}
        return Captured(
            str(self._folder), round(seconds, 3), written, count, found, self._breaks, offsets, imported, failure
        )

    def _keep_status(self) -> None:
        status = self._recorder.status
        if status is not None:
            self._earlier.append((status.lanes, status.written, status.segments))

    def _replace_recorder(self) -> None:
        self._recorder.close()
        self._keep_status()
        self._recorder = self._new_recorder()

    def _new_recorder(self) -> Recorder:
        return make_recorder(self._config.capture, self._folder, self._contracts, "capture")

    def _askers(self) -> dict[str, Callable[[], Offset | None]]:
        """By exchange, what asks for its time."""
        askers: dict[str, Callable[[], Offset | None]] = {}
        for venue, names in self._by_venue.items():
            url = time_url(venue, getattr(self._config.adapters, venue), names[0])
            if url is not None:
                askers[venue.upper()] = partial(ask, venue, url)
        return askers


def _gaps(lanes: list[LaneStatus], instruments: int) -> int:
    """Books that were sent anew: all but each instrument's first."""
    return max(sum(lane.books_anew for lane in lanes) - instruments, 0)

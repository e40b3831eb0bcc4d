"""The recorder: hands what arrives to the writer, and never waits for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path

import msgspec
from nautilus_trader.model import OrderBookDeltas, TradeTick

from market.contracts import Contract
from market.events import Level
from market.nautilus import Decoder, Instrument
from venues.recordings.capture.format import SCHEMA, Change, Header, Mark, MarkKind, Print, pack_record
from venues.recordings.capture.writer import ENVELOPE, Setup, Status

_HAND_OVER = 1 << 14
_PIPE = 1 << 20
_NICE = 5
_STEP_NS = 50_000_000
_LOOK_NS = 5_000_000


class Recorder:
    """Encodes book updates and trades, and hands them to a writer process.

    What finds no room, because the writer is behind by more than `setup.queue_mb`, is left out and counted; the
    book is unknown from there on, and `asks_for_book` says that it should be given whole (`book_anew`).

    Parameters
    ----------
    setup : Setup
    contracts : list[Contract]
        Of `setup.headers`, in their order.

    Raises
    ------
    OSError
        The writer cannot be started.

    """

    def __init__(self, setup: Setup, contracts: Sequence[Contract]) -> None:
        self.lost = 0
        self.status: Status | None = None
        """How the writer stood when it last said so."""
        self.failure = ""
        """What ended the writing."""
        self.gave_up = False
        """Whether it was the disk: another writer would fare no better."""
        self.asks_for_book: set[int] = set()
        """Instruments whose book is to be given whole, by their place."""
        self._decoders = [Decoder(Instrument(contract)) for contract in contracts]
        self._limit = round(setup.queue_mb * 1e6)
        self._fresh = bytearray()  # becomes a chunk of what waits
        self._waiting: deque[memoryview] = deque()
        self._size = 0
        self._drift_ns = time.time_ns() - time.monotonic_ns()
        self._lost: dict[int, tuple[int, int]] = {}
        self._told = bytearray()
        self._writer = subprocess.Popen(
            [sys.executable, "-m", "venues.recordings.capture.writer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0,
        )  # fmt: skip
        assert self._writer.stdin is not None and self._writer.stdout is not None
        self._pipe, self._answers = self._writer.stdin.fileno(), self._writer.stdout.fileno()
        with suppress(OSError):
            fcntl(self._pipe, F_SETPIPE_SZ, _PIPE)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._writer.pid, _NICE)
        os.set_blocking(self._pipe, False)
        os.set_blocking(self._answers, False)
        self._fresh += msgspec.json.encode(setup) + b"\n"
        now = time.time_ns()
        for lane in range(len(contracts)):
            self.mark(lane, "start", now)

    @property
    def writer_pid(self) -> int:
        return self._writer.pid

    @property
    def is_behind(self) -> bool:
        """Whether something waits for the writer."""
        return bool(self._waiting or self._fresh)

    def book(self, lane: int, deltas: OrderBookDeltas) -> bool:
        """Record an update; return whether it gives the whole book."""
        decoder, ts = self._decoders[lane], deltas.ts_init
        found = decoder.checked(deltas)
        if found.off_tick:
            self.mark(lane, "off_tick", ts, value=found.off_tick)
        if found.rounded:
            self.mark(lane, "rounded", ts, value=found.rounded)
        if found.clear:
            self.asks_for_book.discard(lane)
        self._put(lane, ts, pack_record(Change(ts, ts - deltas.ts_event, deltas.sequence, found.levels, found.clear)))
        return found.clear

    def book_anew(self, lane: int, levels: list[Level], ts: int) -> None:
        """Record the whole book, from whoever knows it."""
        self.asks_for_book.discard(lane)
        self._put(lane, ts, pack_record(Change(ts, 0, 0, levels, whole=True)))

    def trade(self, lane: int, trade: TradeTick) -> None:
        """Record a trade; one whose price is off the tick is left out and counted."""
        decoder, ts = self._decoders[lane], trade.ts_init
        if not decoder.is_on_grid(trade):
            self.mark(lane, "off_tick", ts, value=1)
            return
        price, lots, aggressor = decoder.trade(trade)
        record = Print(ts, ts - trade.ts_event, price, lots, aggressor, str(trade.trade_id))
        self._put(lane, ts, pack_record(record))

    def mark(self, lane: int, kind: MarkKind, ts: int, *, since: int = 0, value: int = 0, text: str = "") -> None:
        """Note something about the recording itself."""
        self._put(lane, ts, pack_record(Mark(ts, kind, since, value, text)))

    def pump(self) -> None:
        """Hand over what waits, as far as the writer takes it at once, and hear how it stands."""
        if self.failure:
            return
        self._look_at_clock()
        self._cut()
        try:
            while self._waiting:
                chunk = self._waiting[0]
                taken = os.write(self._pipe, chunk)
                self._size -= taken
                if taken == len(chunk):
                    self._waiting.popleft()
                else:
                    self._waiting[0] = chunk[taken:]
        except BlockingIOError:
            pass
        except OSError:
            self._listen()
            self._end()
            return
        if self._listen():
            self._end()

    def close(self, wait_s: float = 60.0) -> None:
        """Hand over all there is, and wait for the writer to end its files."""
        until = time.monotonic() + wait_s
        self._drain(until)
        for lane in range(len(self._decoders)):
            self.mark(lane, "end", time.time_ns())
        self._drain(until)
        assert self._writer.stdin is not None and self._writer.stdout is not None
        with suppress(OSError):
            self._writer.stdin.close()
        while self._writer.poll() is None and time.monotonic() < until:
            self._listen()
            time.sleep(0.01)
        if self._writer.poll() is None:
            self._writer.kill()
            self.failure = self.failure or f"the writer did not end within {wait_s:g} s"
        self._writer.wait()
        self._listen()
        self._writer.stdout.close()
        if self._writer.returncode:
            self._end()

    def _put(self, lane: int, ts: int, record: bytes) -> None:
        if self.failure:
            return
        if self._size > self._limit:
            self.lost += 1
            count, since = self._lost.get(lane, (0, ts))
            self._lost[lane] = (count + 1, since)
            return
        if lane in self._lost:
            count, since = self._lost.pop(lane)
            self.asks_for_book.add(lane)
            self.mark(lane, "lost", ts, since=since, value=count)
        self._fresh += ENVELOPE.pack(len(record), lane)
        self._fresh += record
        if len(self._fresh) > _HAND_OVER:
            self.pump()

    def _look_at_clock(self) -> None:
        """A clock that is set moves against the one that nobody sets."""
        before = time.monotonic_ns()
        wall = time.time_ns()
        if time.monotonic_ns() - before > _LOOK_NS:
            return  # this process had to wait between the two
        step, self._drift_ns = wall - before - self._drift_ns, wall - before
        if abs(step) > _STEP_NS:
            for lane in range(len(self._decoders)):
                self.mark(lane, "clock_step", wall, value=step)

    def _cut(self) -> None:
        if self._fresh:
            self._waiting.append(memoryview(bytes(self._fresh)))
            self._size += len(self._fresh)
            self._fresh.clear()

    def _drain(self, until: float) -> None:
        self.pump()
        while self._waiting and not self.failure and time.monotonic() < until:
            time.sleep(0.01)
            self.pump()

    def _listen(self) -> bool:
        """Hear how the writer stands; return whether it is gone."""
        has_ended = False
        with suppress(OSError):
            while chunk := os.read(self._answers, _PIPE):
                self._told += chunk
            has_ended = True
        *lines, rest = self._told.split(b"\n")
        if lines:
            self._told = bytearray(rest)
            with suppress(msgspec.DecodeError):  # a line that found no room was cut
                self.status = msgspec.json.decode(lines[-1], type=Status)
        return has_ended

    def _end(self) -> None:
        """The writer is gone."""
        if self.failure:
            return
        said = self.status.failure if self.status is not None else ""
        self.gave_up = bool(said)
        with suppress(subprocess.TimeoutExpired):
            self._writer.wait(1.0)
        self.failure = said or f"the writer ended with code {self._writer.poll()}"
        self._waiting.clear()
        self._fresh.clear()
        self._size = 0


def header_of(contract: Contract, *, depth: int, source: str, session: str) -> Header:
    """What all segments of an instrument begin with; day and time are the writer's to fill in."""
    terms = contract.terms
    return Header(
        schema=SCHEMA, instrument=contract.id, date="", start_ns=0, tick=str(terms.tick), lot=str(terms.lot),
        depth=depth, source=source, session=session,
    )  # fmt: skip


def session_name() -> str:
    """Names a run of a recorder."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"


def room_on(folder: Path) -> int:
    """Bytes that are free where a folder lies, or will lie."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

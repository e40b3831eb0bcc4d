"""NASDAQ TotalView-ITCH 5.0: every displayed order of a day (L3), all stocks in one file.

Prices x 10,000; times are nanoseconds of New York's clock after midnight, the date stands in the file's name. The feed
is the exchange's: there are no arrival times. Its trades are the executions of displayed orders (`E`, `C` where
it is printable) and of hidden ones (`P`, whose side says nothing since 2014). Crosses (`Q`) are auctions.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, Event, OrderUpdate, Trade
from market.sessions import SessionClock, wall_ns
from venues.recordings.loaders.base import Recording, Traits, one_each
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.itch_file import LENGTHS, Messages
from venues.recordings.loaders.order import Seen, in_time
from venues.recordings.loaders.units import Grid, since_midnight
from venues.recordings.terms import RecordingTerms

_DAY = re.compile(r"(?<!\d)(\d{8})(?!\d)|(?<!\d)(\d{4}-\d{2}-\d{2})(?!\d)|S(\d{6})(?!\d)")
_FORMS = ("%m%d%Y", "%Y%m%d", "%Y-%m-%d", "%m%d%y")
_OTHER_VENUE = re.compile(r"(?<![A-Za-z])(BX|PSX)(?![A-Za-z])")
_NEW_YORK = ZoneInfo("America/New_York")
_PRICE_UNIT = 10_000
_NOON_S = 43_200
_MOST = 20
"""Stocks of a file that are imported where none are named."""
_SIDES = {66: BID, 83: ASK}
_TAKES = {BID: SELL, ASK: BUY}
_HALTED = (72, 80)  # H, P
_CUT_OFF = "it ends before the exchange's end of messages: the recording was cut off, or is a part of a day"


class ItchLoader:
    """Each file is a day of an exchange."""

    name = "itch"
    traits = Traits(asks="symbols")

    def recognises(self, path: Path, head: str) -> bool:
        return len(head) > 2 and head[0] == "\0" and LENGTHS.get(head[2]) == ord(head[1])

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        return one_each(self.name, paths)

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_events(recording, terms, findings), findings, recording.name)


def _events(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    path = recording.files[0]
    date, venue = _date(path), (_OTHER_VENUE.findall(path.name) or ["NASDAQ"])[0]
    wanted = frozenset(name.removesuffix(f".{venue}") for name in recording.chosen)
    messages = Messages(path, wanted, _MOST)
    stocks: dict[int, _Stock] = {}
    ended = False
    for message in messages:
        locate = int.from_bytes(message[1:3], "big")
        if locate == 0:
            ended = ended or (message[0] == 83 and message[11] == 67)  # S, code C
            continue
        stock = stocks.get(locate)
        if stock is None:
            contract = terms.need(venue, messages.symbols[locate], wall_ns(date, _NOON_S, _NEW_YORK), path)
            stock = stocks[locate] = _Stock(Grid(contract, findings.of(contract.id)), date)
        try:
            yield from stock.events(message)
        except (ValueError, struct.error) as error:
            raise DataError(f"{path}: not a sound ITCH 5.0 file ({error})") from error
    missing = wanted.difference(messages.symbols.values())
    if missing:
        raise DataError(f"{path}: it holds no stock {sorted(missing)[0]}; leave it out of --instruments")
    if not ended:
        for stock in stocks.values():
            findings.note(stock.id, "cut off", _CUT_OFF)


def _date(path: Path) -> dt.date:
    for found in _DAY.findall(path.name):
        for form in _FORMS:
            try:
                date = dt.datetime.strptime("".join(found), form).date()
            except ValueError:
                continue
            if 2000 <= date.year < 2100:
                return date
    raise DataError(f"{path}: an ITCH file does not say its day, and its name holds none; call it e.g. 01302019.ITCH50")


class _Stock:
    """One stock's orders: what an execution or a delete refers to."""

    def __init__(self, grid: Grid, date: dt.date) -> None:
        self._grid, self.id, self._counts, self._date = grid, grid.contract.id, grid.counts, date
        self._orders: dict[int, tuple[int, int | None, int]] = {}  # side, price (None: off the tick), size
        self._matches = Seen()
        noon = wall_ns(date, _NOON_S, _NEW_YORK)
        spans = SessionClock(grid.contract.sessions).closes(noon, noon + 1) if grid.contract.sessions.hours else []
        self._closes = max((end for _, end in spans), default=None)

    def events(self, message: bytes) -> Iterator[Event]:
        ts = since_midnight(self._date, int.from_bytes(message[5:11], "big"), _NEW_YORK)
        if self._closes is not None and ts > self._closes:
            self._counts["outside_session"] += 1
            return
        match chr(message[0]):
            case "A" | "F":
                ref, side, shares, _, price = struct.unpack_from(">QBI8sI", message, 11)
                yield from self._add(ts, ref, self._side(side), shares, self._ticks(price))
            case "E":
                ref, shares, match = struct.unpack_from(">QIQ", message, 11)
                yield from self._execute(ts, ref, shares, match, None)
            case "C":
                ref, shares, match, printable, price = struct.unpack_from(">QIQcI", message, 11)
                yield from self._execute(ts, ref, shares, match, price if printable == b"Y" else 0)
            case "X":
                ref, shares = struct.unpack_from(">QI", message, 11)
                yield from self._reduce(ts, ref, shares)
            case "D":
                (ref,) = struct.unpack_from(">Q", message, 11)
                yield from self._reduce(ts, ref, None)
            case "U":
                yield from self._replace(ts, *struct.unpack_from(">QQII", message, 11))
            case "P":
                _, _, shares, _, price, match = struct.unpack_from(">QBI8sIQ", message, 11)
                yield from self._hidden(ts, shares, price, match)
            case "Q":
                self._counts["auction_trade"] += struct.unpack_from(">Q", message, 11)[0] > 0
            case "B":
                self._counts["broken_trade"] += 1
            case "H":
                self._counts["halt_message"] += message[19] in _HALTED

    def _side(self, code: int) -> int:
        try:
            return _SIDES[code]
        except KeyError:
            raise ValueError(f"{chr(code)!r} is no side") from None

    def _ticks(self, price: int) -> int | None:
        return self._grid.ticks(price / _PRICE_UNIT)

    def _add(
        self, ts: int, ref: int, side: int, shares: int, ticks: int | None, *, others: bool = False
    ) -> Iterator[OrderUpdate]:
        """A new order; `others` is whether it ends a change that removed one."""
        if ref >= 1 << 63:
            raise ValueError(f"{ref} is no order's number")
        again = ref in self._orders
        if again or not shares or ticks is None:
            self._counts["duplicate_order"] += again
            if not again and shares:
                self._orders[ref] = (side, None, shares)
            if others:
                yield OrderUpdate(self.id, ts, ts, 0, BID, 0, 0)
            return
        self._orders[ref] = (side, ticks, shares)
        yield OrderUpdate(self.id, ts, ts, ref, side, ticks, self._grid.lots(shares))

    def _execute(self, ts: int, ref: int, shares: int, match: int, price: int | None) -> Iterator[Event]:
        """An execution at the order's price, or at `price`; 0 where it is part of a cross and prints there."""
        if self._matches.again(match):
            self._counts["duplicate_trade"] += 1
            return
        known = self._orders.get(ref)
        if known is None:
            self._counts["unknown_order"] += 1
        ticks = (known[1] if known else None) if price is None else self._ticks(price) if price else None
        if price == 0:
            self._counts["auction_trade"] += 1
        elif ticks is not None and shares:
            yield Trade(self.id, ts, ts, ticks, self._grid.lots(shares), _TAKES[known[0]] if known else NO_AGGRESSOR)
        if known is not None:
            yield from self._reduce(ts, ref, shares)

    def _reduce(self, ts: int, ref: int, shares: int | None, *, last: bool = True) -> Iterator[OrderUpdate]:
        """Take shares from an order, or with None all that are left."""
        known = self._orders.get(ref)
        if known is None:
            self._counts["unknown_order"] += 1
            return
        side, ticks, size = known
        left = 0 if shares is None else size - shares
        if left < 0:
            self._counts["more_than_rested"] += 1
        if left > 0:
            self._orders[ref] = (side, ticks, left)
        else:
            del self._orders[ref]
        if ticks is not None:
            yield OrderUpdate(self.id, ts, ts, ref, side, ticks, self._grid.lots(max(left, 0)), last)

    def _replace(self, ts: int, ref: int, new: int, shares: int, price: int) -> Iterator[OrderUpdate]:
        """An order goes, another one of its side comes: one change of the book."""
        known = self._orders.get(ref)
        if known is None:
            self._counts["unknown_order"] += 1
            return
        yield from self._reduce(ts, ref, None, last=False)
        yield from self._add(ts, new, known[0], shares, self._ticks(price), others=known[1] is not None)

    def _hidden(self, ts: int, shares: int, price: int, match: int) -> Iterator[Trade]:
        if self._matches.again(match):
            self._counts["duplicate_trade"] += 1
            return
        ticks = self._grid.contract.ticks(price / _PRICE_UNIT)
        if ticks is None:
            self._counts["off_tick_hidden_execution"] += 1  # midpoint matches
        elif shares and ticks > 0:
            yield Trade(self.id, ts, ts, ticks, self._grid.lots(shares), NO_AGGRESSOR)

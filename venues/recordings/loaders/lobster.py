"""LOBSTER (NASDAQ): a message file and an order-book file of N levels, row by row.

Prices x 10,000; an empty level is written as price ±9999999999 with size 0. Message types 4 and 5
are executions against a visible and a hidden order; `direction` is the resting order's side. Times are
seconds of New York's clock after midnight.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from market.errors import DataError
from market.events import ASK, BID, BUY, SELL, BookUpdate, Event, Trade
from market.sessions import NS_PER_S, wall_ns
from venues.recordings.loaders.base import Recording, Traits, is_there, lines
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.units import Grid, since_midnight
from venues.recordings.terms import RecordingTerms

_NAME = re.compile(r"([A-Z][A-Z.]*)_(\d{4}-\d{2}-\d{2})_(?:.*_)?(message|orderbook)_(\d+)")
_MESSAGE = re.compile(r"\d+(\.\d+)?,[1-7],\d+,\d+,-?\d+,-?1\s*$", re.MULTILINE)
_PRICE_UNIT = 10_000
_EXECUTIONS = ("4", "5")
_NOON_S = 43_200
_NEW_YORK = ZoneInfo("America/New_York")


class LobsterLoader:
    """A pair of files whose names hold symbol, date and level count."""

    name = "lobster"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        first = head.split("\n", 1)[0].strip()
        is_book = first.count(",") % 4 == 3 and re.fullmatch(r"-?[\d,-]+", first) is not None
        return _NAME.search(path.name) is not None and (is_book or _MESSAGE.match(first) is not None)

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        pairs = {}
        for path in paths:
            message = path.with_name(path.name.replace("_orderbook_", "_message_"))
            book = path.with_name(path.name.replace("_message_", "_orderbook_"))
            for file in (message, book):
                if not is_there(file):
                    raise DataError(f"{file}: missing; a LOBSTER recording is a message and an orderbook file")
            pairs[message] = Recording(self.name, (message, book))
        return list(pairs.values())

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_events(recording, terms, findings), findings, recording.name)


def _events(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    messages, books = recording.files
    match = _NAME.search(messages.name)
    if match is None:
        raise DataError(f"{messages}: the name does not hold symbol, date and levels as LOBSTER's do")
    symbol, day, _, depth = match.groups()
    try:
        date = dt.date.fromisoformat(day)
    except ValueError as error:
        raise DataError(f"{messages}: {day} in its name is no date") from error
    contract = terms.need("NASDAQ", symbol, wall_ns(date, _NOON_S, _NEW_YORK), messages)
    grid = Grid(contract, findings.of(contract.id))
    book_lines = lines(books)
    for number, line in lines(messages):
        _, book_line = next(book_lines, (0, None))
        if book_line is None:
            raise DataError(f"{books}: has fewer rows than {messages.name}; one of them is cut off")
        fields = line.split(",")
        try:
            ts = _ns(fields[0], date)
            levels = grid.snapshot(_shown(book_line.split(",")))
            price, size, direction = int(fields[4]) / _PRICE_UNIT, int(fields[3]), int(fields[5])
        except (ValueError, IndexError, OverflowError) as error:
            raise DataError(f"{messages}, line {number}: not a LOBSTER row ({error})") from error
        if fields[1] == "5" and contract.ticks(price) is None:
            grid.counts["off_tick_hidden_execution"] += 1  # midpoint matches
        elif fields[1] in _EXECUTIONS:
            ticks = grid.ticks(price)
            if ticks is not None and size > 0:
                yield Trade(contract.id, ts, ts, ticks, size, SELL if direction > 0 else BUY)
        elif fields[1] == "7":
            grid.counts["halt_message"] += 1
            continue
        if levels is not None:
            yield BookUpdate(contract.id, ts, ts, levels, snapshot=True, depth=int(depth))
    if next(book_lines, None) is not None:
        raise DataError(f"{messages}: has fewer rows than {books.name}; one of them is cut off")


def _ns(text: str, date: dt.date) -> int:
    whole, _, fraction = text.partition(".")
    seconds = int(whole)
    return since_midnight(date, seconds * NS_PER_S + int(fraction[:9].ljust(9, "0")), _NEW_YORK)


def _shown(fields: list[str]) -> Iterator[tuple[int, float, float]]:
    for index in range(0, len(fields) - 1, 2):
        price, size = int(fields[index]), int(fields[index + 1])
        if size > 0:
            yield ASK if index % 4 == 0 else BID, price / _PRICE_UNIT, size

"""LOBSTER (NASDAQ): a message file and an order-book file of N levels, row by row.

Prices x 10,000; an empty level is written as price ±9999999999 with size 0. Message types 4 and 5
are executions against a visible and a hidden order; `direction` is the resting order's side.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from market.contracts import ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, SELL, BookUpdate, Event, Level, Trade
from market.sessions import NS_PER_S, local_ns
from venues.recordings.loaders.base import ArrivalOrder, Recording, Traits, lines

_NAME = re.compile(r"([A-Z][A-Z.]*)_(\d{4}-\d{2}-\d{2})_(?:.*_)?(message|orderbook)_(\d+)")
_MESSAGE = re.compile(r"\d+(\.\d+)?,[1-7],\d+,\d+,-?\d+,-?1\s*$", re.MULTILINE)
_PRICE_UNIT = 10_000
_EXECUTIONS = ("4", "5")
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
                if not file.exists():
                    raise DataError(f"{file}: missing; a LOBSTER recording is a message and an orderbook file")
            pairs[message] = Recording(self.name, (message, book))
        return list(pairs.values())

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        messages, books = recording.files
        match = _NAME.search(messages.name)
        if match is None:
            raise DataError(f"{messages}: the name does not hold symbol, date and levels as LOBSTER's do")
        symbol, day, _, depth = match.groups()
        date = dt.date.fromisoformat(day)
        contract = contracts.find("NASDAQ", symbol, date)
        if contract is None:
            raise DataError(f"{messages}: no contract terms for {symbol} on NASDAQ; add a row for it")
        midnight = local_ns(dt.datetime.combine(date, dt.time()), _NEW_YORK)
        order, scale = ArrivalOrder(), contract.tick * _PRICE_UNIT
        book_lines = lines(books)
        for number, line in lines(messages):
            _, book_line = next(book_lines, (0, None))
            where = f"{messages}, line {number}"
            if book_line is None:
                raise DataError(f"{books}: has fewer rows than {messages.name}; one of them is cut off")
            fields = line.split(",")
            try:
                seconds, _, fraction = fields[0].partition(".")
                ts = midnight + int(seconds) * NS_PER_S + int(fraction[:9].ljust(9, "0") or 0)
                levels = _levels(book_line.split(","), scale)
                price, size, direction = int(fields[4]), int(fields[3]), int(fields[5])
            except (ValueError, IndexError) as error:
                raise DataError(f"{where}: not a LOBSTER row ({error})") from error
            if not order.admits(ts, where):
                drops["out_of_order"] += 1
                continue
            if fields[1] in _EXECUTIONS:
                if fields[1] == "5" and price % scale:
                    drops["off_tick_hidden_execution"] += 1  # midpoint matches
                else:
                    yield Trade(contract.id, ts, ts, round(price / scale), size, SELL if direction > 0 else BUY)
            elif fields[1] == "7":
                drops["halt_message"] += 1
                continue
            yield BookUpdate(contract.id, ts, ts, levels, snapshot=True, depth=int(depth))
        if next(book_lines, None) is not None:
            raise DataError(f"{messages}: has fewer rows than {books.name}; one of them is cut off")


def _levels(fields: list[str], scale: float) -> list[Level]:
    levels: list[Level] = []
    for index in range(0, len(fields) - 1, 2):
        price, size = int(fields[index]), int(fields[index + 1])
        if size > 0:
            levels.append((ASK if index % 4 == 0 else BID, round(price / scale), size))
    return levels

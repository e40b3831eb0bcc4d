"""SGX A50 future: three-level books on each change, blocks of a time stamp and three rows.

Price / 100 = points. No trades, one instrument, Singapore time.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from market.contracts import ContractTable
from market.errors import DataError
from market.events import ASK, BID, BookUpdate, Event, Level
from market.sessions import local_ns
from venues.recordings.loaders.base import ArrivalOrder, Recording, Traits, lines, one_each

_HEADER = "Bid,Bid_Quantity,Ask,Ask_Quantity"
_PRICE_UNIT = 100.0
_DEPTH = 3
_SINGAPORE = ZoneInfo("Asia/Singapore")


class SgxLoader:
    """One file is one day of the front future, imported as `CN.SGX`."""

    name = "sgx"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return head.startswith(_HEADER)

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        return one_each(self.name, paths)

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        path = recording.files[0]
        contract = contracts.find("SGX", "CN")
        if contract is None:
            raise DataError(f"{path}: no contract terms for CN on SGX; add a row for it")
        order = ArrivalOrder()
        for ts, rows, number in _blocks(path):
            if not order.admits(ts, f"{path}, line {number}"):
                drops["out_of_order"] += 1
                continue
            levels: list[Level] = []
            sound = True
            for bid, bid_size, ask, ask_size in rows:
                for side, price, size in ((BID, bid, bid_size), (ASK, ask, ask_size)):
                    ticks, lots = contract.ticks(price / _PRICE_UNIT), contract.lots(size)
                    sound &= ticks is not None and lots is not None
                    if ticks and lots:
                        levels.append((side, ticks, lots))
            bids = [p for s, p, _ in levels if s == BID]
            asks = [p for s, p, _ in levels if s == ASK]
            if not sound:
                drops["off_tick"] += 1
            elif bids and asks and max(bids) >= min(asks):
                drops["crossed"] += 1  # before the opening auction
            elif levels:
                yield BookUpdate(contract.id, ts, ts, levels, snapshot=True, depth=_DEPTH)
            else:
                drops["no_quote"] += 1


def _blocks(path: Path) -> Iterator[tuple[int, list[list[float]], int]]:
    stamp, number = 0, 0
    rows: list[list[float]] = []
    for number, line in lines(path):
        fields = line.split(",")
        if not line or line == _HEADER:
            continue
        if fields[0] == "TimeStamp":
            if rows:
                yield stamp, rows, number
            stamp, rows = _ns(fields[1], path, number), []
            continue
        try:
            row = [float(field or 0) for field in fields]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if len(row) != 4 or not stamp:
            raise DataError(f"{path}, line {number}: expected {_HEADER} below a TimeStamp row")
        rows.append(row)
    if rows:
        yield stamp, rows, number


def _ns(text: str, path: Path, number: int) -> int:
    """Nanosecond time stamp `2014-01-09D08:45:00.130972200`, Singapore time."""
    try:
        whole, _, fraction = text.partition(".")
        moment = dt.datetime.strptime(whole, "%Y-%m-%dD%H:%M:%S")
        return local_ns(moment, _SINGAPORE) + int(fraction[:9].ljust(9, "0"))
    except ValueError as error:
        raise DataError(f"{path}, line {number}: {text!r} is not a time YYYY-MM-DDDhh:mm:ss.n") from error

"""SGX A50 future: three-level books on each change, blocks of a time stamp and three rows.

Price / 100 = points. No trades, one instrument, Singapore time. Rows of NaN stand for levels that are empty.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from market.errors import DataError
from market.events import ASK, BID, BookUpdate, Event
from market.sessions import local_ns
from venues.recordings.loaders.base import Recording, Traits, lines, one_each
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.units import Grid
from venues.recordings.terms import RecordingTerms

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

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_events(recording.files[0], terms, findings), findings, recording.name)


def _events(path: Path, terms: RecordingTerms, findings: Findings) -> Iterator[BookUpdate]:
    grid: Grid | None = None
    for ts, rows, number in _blocks(path):
        if grid is None:
            contract = terms.need("SGX", "CN", ts, path)
            grid = Grid(contract, findings.of(contract.id))
        levels = grid.snapshot(_shown(rows, f"{path}, line {number}"))
        if levels is None:
            continue
        bids = [p for s, p, _ in levels if s == BID]
        asks = [p for s, p, _ in levels if s == ASK]
        if bids and asks and max(bids) >= min(asks):
            grid.counts["crossed"] += 1  # before the opening auction
        elif levels:
            yield BookUpdate(grid.contract.id, ts, ts, levels, snapshot=True, depth=_DEPTH)
        else:
            grid.counts["no_quote"] += 1


def _shown(rows: list[list[float]], where: str) -> Iterator[tuple[int, float, float]]:
    for bid, bid_size, ask, ask_size in rows:
        for side, price, size in ((BID, bid, bid_size), (ASK, ask, ask_size)):
            if math.isnan(price) or math.isnan(size) or not size:  # NaN is nothing
                continue
            if size < 0:
                raise DataError(f"{where}: {size:g} is no size")
            yield side, price / _PRICE_UNIT, size


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
            stamp, rows = _ns(fields[1] if len(fields) > 1 else "", path, number), []
            continue
        try:
            row = [float(field or "nan") for field in fields]
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

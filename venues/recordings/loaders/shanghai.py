"""Shanghai's stocks order by order (L3), whole days: a file of orders and one of trades, in two vendors' columns.

A third of snapshots may stand beside them: the book is checked against it (`shanghai_check`).

Order and trade rows of a stock are one sequence (`BizIndex`, `ApplSeqNum`): it is the truth, not the time
stamps. `shanghai_stream` makes the book of it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from market.contracts import Contract
from market.errors import DataError
from market.events import ASK, BID, Event
from market.sessions import wall_ns
from venues.recordings.loaders.base import Recording, Rows, Traits
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import Seen, in_time
from venues.recordings.loaders.shanghai_check import SNAPSHOT_COLUMNS, checked
from venues.recordings.loaders.shanghai_stream import ADD, DELETE, TRADE, Row, Stream
from venues.recordings.terms import RecordingTerms, as_date

_ZONE = ZoneInfo("Asia/Shanghai")
_CODE = re.compile(r"(\d{6})(\.(SH|SS|SSE|XSHG))?$")
_DAY_IN_NAME = re.compile(r"(?<!\d)((?:19|20)\d{6})(?!\d)")
_KINDS = {"A": ADD, "2": ADD, "D": DELETE, "10": DELETE}
_STATUS = frozenset({"S", "11"})
_SIDES = {"B": BID, "1": BID, "S": ASK, "2": ASK}
_NEEDED = ("orders", "trades")
_AUCTION = frozenset({"N", "0"})


class _Names(msgspec.Struct, frozen=True):
    """What a vendor calls the fields of its rows; `day` is empty where the file's name alone tells it.

    `kind` and `order` are those of orders, `buyer` and `seller` those of trades.
    """

    sequence: str
    channel: str
    day: str
    time: str
    arrival: str
    price: str
    size: str
    side: str
    kind: str = ""
    order: str = ""
    buyer: str = ""
    seller: str = ""

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"SecurityID", *(name for name in msgspec.structs.astuple(self) if name)})


_ORDERS = (
    _Names(
        "BizIndex", "OrderChannel", "", "OrderTime", "LocalTime", "OrderPrice", "Balance", "OrderBSFlag",
        kind="OrderType", order="OrderNO",
    ),
    _Names(
        "ApplSeqNum", "ChannelNo", "MDDate", "MDTime", "ReceiveDateTime", "OrderPrice", "OrderQty", "OrderBSFlag",
        kind="OrderType", order="OrderNO",
    ),
)  # fmt: skip
_TRADES = (
    _Names(
        "BizIndex", "TradeChan", "", "TradTime", "LocalTime", "TradPrice", "TradVolume", "TradeBSFlag",
        buyer="TradeBuyNo", seller="TradeSellNo",
    ),
    _Names(
        "ApplSeqNum", "ChannelNo", "MDDate", "MDTime", "ReceiveDateTime", "TradePrice", "TradeQty", "TradeBSFlag",
        buyer="TradeBuyNo", seller="TradeSellNo",
    ),
)  # fmt: skip
_SNAPSHOTS = _Names("", "", "", "UpdateTime", "LocalTime", "", "", "")


class ShanghaiLoader:
    """A stock's orders and trades of one day."""

    name = "shanghai"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        columns = frozenset(name.strip().strip('"') for name in head.split("\n", 1)[0].split(","))
        return any(columns >= names for names in (SNAPSHOT_COLUMNS, *(names.columns for names in (*_ORDERS, *_TRADES))))

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        days: dict[tuple[str, int], list[_File]] = {}
        for file in map(_File, paths):
            days.setdefault((file.code, file.day), []).append(file)
        return [self._together(files) for files in days.values()]

    def _together(self, files: list[_File]) -> Recording:
        found: dict[str, _File] = {}
        for file in files:
            if file.what in found:
                raise DataError(
                    f"{file.path}: {file.what} of the stock and day of {found[file.what].path.name}; give one"
                )
            found[file.what] = file
        missing = [what for what in _NEEDED if what not in found]
        if missing:
            first = files[0]
            raise DataError(
                f"{first.path}: the book follows from orders and trades together; give the {missing[0]} of "
                f"{first.code} on {first.day} in the same command"
            )
        return Recording(self.name, tuple(found[what].path for what in (*_NEEDED, "snapshots") if what in found))

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        files = [_File(path) for path in recording.files[:2]]
        first = files[0]
        contract = terms.need("SSE", first.code, first.midnight + 12 * 3_600 * 10**9, first.path)
        channels: set[str] = set()
        orders, trades = (in_time(file.rows(contract, findings, channels), findings, file.path.name) for file in files)
        stream = Stream(contract, findings)
        events = stream.events(orders, trades, first.midnight)
        if len(recording.files) == 2:
            return events
        return checked(events, stream, recording.files[2], contract, findings)


class _File:
    """One file: whose it is and of which day, by its first row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = Rows(path)
        row = next(iter(rows), None)
        named = [names for names in (*_ORDERS, *_TRADES) if rows.columns.keys() >= names.columns]
        if row is None or not (named or rows.columns.keys() >= SNAPSHOT_COLUMNS):
            raise DataError(f"{path}: no order or trade of a Shanghai stock is in it")
        self.names = named[0] if named else _SNAPSHOTS
        self.what = "orders" if self.names.kind else "trades" if self.names.buyer else "snapshots"
        found = _CODE.match(row.text("SecurityID").strip())
        if found is None:
            raise row.error("SecurityID", "a Shanghai stock's code, as 600519 or 600519.SH")
        self.code = found.group(1)
        self.day = _day(row, self.names)
        self._security = row.text("SecurityID")
        self._midnights: dict[str, int] = {}
        self.midnight = wall_ns(as_date(self.day), 0, _ZONE)

    def rows(self, contract: Contract, findings: Findings, channels: set[str]) -> Iterator[Row]:
        """Yield each row once, in its place in the sequence; `channels` is shared with the stock's other file."""
        names, counts = self.names, findings.of(contract.id)
        seen, last = Seen(), -1
        for row in Rows(self.path):
            if row.text("SecurityID") != self._security:
                raise row.error("SecurityID", f"{self._security}, as in the rows before: split the file by stock")
            if names.day and _day(row, names) != self.day:
                raise row.error(names.day, f"{self.day}, as in the rows before: split the file by day")
            channels.add(row.text(names.channel))
            if len(channels) > 1:
                raise row.error(names.channel, "the stock's channel: a sequence does not go on over channels")
            sequence = row.integer(names.sequence)
            if seen.again(sequence):
                counts["duplicate_order" if names.kind else "duplicate_trade"] += 1
                continue
            if sequence < last:
                raise row.error(names.sequence, f"above {last}, that of the rows before: sort the file by it first")
            last = sequence
            made = self._row(row, contract.id, sequence)
            if made is None:
                counts["control_message"] += 1
            else:
                yield made

    def _row(self, row: Rows, symbol: str, sequence: int) -> Row | None:
        names = self.names
        ts_event = self._moment(row, names.time)
        ts_recv = self._moment(row, names.arrival) if row.text(names.arrival) else ts_event
        side = row.text(names.side)
        if names.kind:
            kind = _KINDS.get(row.text(names.kind))
            if kind is None:
                if row.text(names.kind) in _STATUS:
                    return None
                raise row.error(names.kind, "A, D, 2 or 10")
            if side not in _SIDES:
                raise row.error(names.side, "B, S, 1 or 2")
            ids = row.integer(names.order), 0
        else:
            kind = TRADE
            if side not in _SIDES and side not in _AUCTION:
                raise row.error(names.side, "B, S, N, 1, 2 or 0")
            ids = row.integer(names.buyer), row.integer(names.seller)
        size = row.integer(names.size)
        if size < 0:
            raise row.error(names.size, "a size")
        if not all(0 <= oid < 1 << 63 for oid in ids):
            raise row.error(names.order or names.buyer, "an order's number")
        price = row.number(names.price)
        return Row(symbol, ts_event, ts_recv, sequence, kind, _SIDES.get(side, 0), price, size, *ids)

    def _moment(self, row: Rows, name: str) -> int:
        """Nanoseconds of `09:15:00.020`, with or without a date before it."""
        text = row.text(name).strip()
        midnight = self.midnight
        try:
            if len(text) > 10 and text[10] in "T ":
                date, text = text[:10], text[11:]
                if date not in self._midnights:
                    self._midnights[date] = wall_ns(_date(date), 0, _ZONE)
                midnight = self._midnights[date]
            if text[2] != ":" or text[5] != ":" or text[8:9] not in ("", "."):
                raise ValueError
            hours, minutes, seconds = int(text[:2]), int(text[3:5]), int(text[6:8])
            if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 60):
                raise ValueError
            fraction = int(text[9:18].ljust(9, "0"))
        except (ValueError, IndexError):
            raise row.error(name, "a time as 09:15:00.020") from None
        return midnight + (hours * 3_600 + minutes * 60 + seconds) * 10**9 + fraction


def _day(row: Rows, names: _Names) -> int:
    """The trading day, YYYYMMDD: by its column, else by the file's name."""
    if names.day:
        try:
            date = _date(row.text(names.day).strip())
        except ValueError:
            raise row.error(names.day, "a day as 2023.07.11") from None
        return date.year * 10_000 + date.month * 100 + date.day
    found = _DAY_IN_NAME.search(row.path.name)
    if found is None:
        raise DataError(f"{row.path}: its rows bear no date; put the day into the file's name, as SSE.600519.20230201")
    return int(found.group(1))


def _date(text: str) -> dt.date:
    return dt.date.fromisoformat(text.replace(".", "-").replace("/", "-"))

"""Bitstamp order events (L3): created, changed, deleted, by order id; also as R's `ob-analytics` writes them.

Volume stands in units of 1e-8 or in coins with decimals, the columns' names with dots or underscores.
The feed has no trades. A resting order that shrinks (`changed`) or is `deleted` with nothing left
was matched; its side tells the aggressor. The recording starts without a book: it fills up from
the orders created since, so that its first minutes are thin.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from sortedcontainers import SortedDict

from market.events import ASK, BID, BUY, SELL, Event, OrderUpdate, Trade
from market.sessions import NS_PER_S
from venues.recordings.loaders.base import Recording, Rows, Traits, lines, one_each
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.units import Grid, epoch_ns
from venues.recordings.terms import RecordingTerms

_COLUMNS = frozenset({"id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction"})
_SIDES = {"bid": BID, "ask": ASK}
_UNIT = 1e-8
_HEAD_ROWS = 1_000
_WHOLE_COINS_BELOW = 100_000
"""Whole volumes below it are coins: as units of 1e-8 no order would be worth a dollar."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class BitstampLoader:
    """One CSV of order events of BTC/USD."""

    name = "bitstamp"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return set(_columns(head.split("\n", 1)[0])) >= _COLUMNS

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        return one_each(self.name, paths)

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_events(recording.files[0], terms, findings), findings, recording.name)


def _events(path: Path, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    rows = _Rows(path)
    grid: Grid | None = None
    sizes: dict[int, tuple[int, bool]] = {}  # order id -> (size, may be matched as a maker)
    crossing = _Touch()
    for row in rows:
        ts = rows.moment("timestamp")
        if grid is None:
            contract = terms.need("BITSTAMP", "BTCUSD", ts, path)
            grid = Grid(contract, findings.of(contract.id))
        update = _update(rows, ts, grid)
        if update is None:
            continue
        oid, action = update.order_id, row.text("action")
        if action == "created":
            if oid in sizes:
                grid.counts["duplicate_order"] += 1
                continue
            sizes[oid] = (update.size, not crossing.taker(update))
        elif oid not in sizes:
            grid.counts["unknown_order"] += 1
            continue
        else:
            before, maker = sizes.pop(oid)
            matched = before - update.size if action == "changed" else before if rows.volume() == 0 else 0
            if update.size:
                sizes[oid] = (update.size, maker)
            if maker and matched > 0:
                aggressor = SELL if update.side == BID else BUY
                yield Trade(update.symbol, update.ts_event, ts, update.price, matched, aggressor)
        crossing.apply(update)
        yield update


class _Rows(Rows):
    """Rows with the dotted names, whatever the file's are, and its unit of volume."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._unit = _unit(path)

    def __iter__(self) -> Iterator[Rows]:
        rows = super().__iter__()
        for row in rows:
            self.columns = {name.replace("_", "."): index for name, index in self.columns.items()}
            self.require(sorted(_COLUMNS))
            yield row
            yield from rows

    def volume(self) -> float:
        """Volume in coins."""
        value = self.number("volume")
        if self._unit == _UNIT and value != int(value):
            raise self.error("volume", "a whole number, as the file's first volumes are")
        return value * self._unit

    def moment(self, name: str) -> int:
        """A time since 1970, as a number or as R prints it (`2015-05-01 00:00:04.518`, UTC)."""
        text = self.text(name)
        if ":" not in text:
            return self.time(name)
        try:
            when = dt.datetime.fromisoformat(text.strip())
            delta = (when if when.tzinfo else when.replace(tzinfo=dt.UTC)) - _EPOCH
            return epoch_ns((delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000)
        except ValueError:
            raise self.error(name, "a time") from None


class _Touch:
    """Best prices among resting orders, to tell an order that arrives as a taker."""

    def __init__(self) -> None:
        self._counts: dict[int, SortedDict[int, int]] = {BID: SortedDict(), ASK: SortedDict()}
        self._resting: dict[int, tuple[int, int]] = {}

    def taker(self, update: OrderUpdate) -> bool:
        other = self._counts[ASK if update.side == BID else BID]
        if not other:
            return False
        best = int(other.peekitem(0 if update.side == BID else -1)[0])
        return update.price >= best if update.side == BID else update.price <= best

    def apply(self, update: OrderUpdate) -> None:
        known = self._resting.get(update.order_id)
        if known is None and update.size and not self.taker(update):
            counts = self._counts[update.side]
            counts[update.price] = counts.get(update.price, 0) + 1
            self._resting[update.order_id] = (update.side, update.price)
        elif known is not None and not update.size:
            side, price = self._resting.pop(update.order_id)
            counts = self._counts[side]
            counts[price] -= 1
            if not counts[price]:
                del counts[price]


def _update(row: _Rows, ts: int, grid: Grid) -> OrderUpdate | None:
    action, side = row.text("action"), _SIDES.get(row.text("direction"))
    if side is None or action not in ("created", "changed", "deleted"):
        raise row.error("action", "created, changed or deleted with direction bid or ask")
    price, volume = row.number("price"), row.volume()
    if price == 0 and action == "created":
        grid.counts["market_order"] += 1  # an order without a price never rests
        return None
    if volume < 0:
        raise row.error("volume", "a size")
    level = grid.level(side, price, volume) if price else None
    if level is None:
        return None
    event_ts = row.moment("exchange.timestamp")
    size = 0 if action == "deleted" else level[2]
    order_id = row.integer("id")
    if not 0 <= order_id < 1 << 63:
        raise row.error("id", "an order's id")
    return OrderUpdate(grid.contract.id, event_ts, ts, order_id, side, level[1], size)


def _columns(header: str) -> list[str]:
    return [name.strip().strip('"').replace("_", ".") for name in header.split(",")]


def _unit(path: Path) -> float:
    """Coins a unit of volume: 1e-8 where the first volumes are large whole numbers, else 1."""
    largest = 0.0
    source = lines(path)
    columns = _columns(next(source, (0, ""))[1])
    index = columns.index("volume") if "volume" in columns else 0
    for number, line in source:
        fields = line.split(",")
        try:
            volume = float(fields[index].strip('" ')) if len(fields) == len(columns) else 0.0
        except ValueError:
            continue
        if volume % 1.0:
            return 1.0
        largest = max(largest, volume)
        if number > _HEAD_ROWS:
            break
    return 1.0 if 0 < largest < _WHOLE_COINS_BELOW else _UNIT

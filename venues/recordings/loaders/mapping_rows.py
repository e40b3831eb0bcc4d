"""What each kind of row of a mapping says, as events of one instrument."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

import msgspec

from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, OrderUpdate, Trade
from venues.recordings.loaders.mapping import (
    Amount,
    Change,
    Kind,
    Number,
    Order,
    Print,
    Snapshot,
    When,
    Words,
    amount,
    words,
)
from venues.recordings.loaders.mapping_tables import Fields, Table
from venues.recordings.loaders.messages import MessageBook
from venues.recordings.loaders.order import Seen
from venues.recordings.loaders.units import Grid, whole_number

type Stamp = tuple[int, int]
"""Exchange and arrival time, ns."""


class Symbol(MessageBook):
    """One instrument: its grid, its message at hand, its orders."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid.contract.id)
        self.grid, self.counts = grid, grid.counts
        self.trades = Seen()
        self.orders: dict[int, tuple[int, int]] = {}  # side and price in ticks of those that rest
        self._waiting: tuple[OrderUpdate, str] | None = None

    def order(self, update: OrderUpdate, group: str | None) -> Iterator[OrderUpdate]:
        """An order's change; it ends a group of changes where the next one is of another group."""
        if group is None:
            yield update
            return
        if self._waiting is not None:
            before, its = self._waiting
            yield msgspec.structs.replace(before, last=its != group)
        self._waiting = (update, group)

    def end_group(self, now: Stamp | None = None) -> Iterator[OrderUpdate]:
        """The change that waits is the last of its group: something of another time follows, or nothing."""
        if self._waiting is not None and now != (self._waiting[0].ts_event, self._waiting[0].ts_recv):
            yield self._waiting[0]
            self._waiting = None


class Snapshots:
    """Levels of the book, best first."""

    def __init__(self, kind: Snapshot, table: Table) -> None:
        sides = ((BID, "bid_price", "bid_size"), (ASK, "ask_price", "ask_size"))
        self._levels: list[tuple[int, Amount, Amount]] = []
        self.keys: dict[str, str] = {}
        depths = set()
        for side, price, size in sides:
            prices, sizes = (_numbered(amount(getattr(kind, key)), table, key) for key in (price, size))
            depths |= {tuple(prices), tuple(sizes)}
            self._levels += [(side, prices[i], sizes[i]) for i in prices if i in sizes]
            self.keys |= {f"{price}[{i}]": found.column for i, found in prices.items()}
            self.keys |= {f"{size}[{i}]": found.column for i, found in sizes.items()}
        if len(depths) > 1:
            raise DataError(f"{table.path}: the columns of bid_price, bid_size, ask_price and ask_size are not as many")
        self._depth = len(next(iter(depths)))

    def read(self, fields: Fields) -> Iterator[list[tuple[int, float, float]]]:
        columns = [fields.levels(price, size) for _, price, size in self._levels]
        sides = [side for side, _, _ in self._levels]
        for row in zip(*columns, strict=True):
            yield [(side, *level) for side, level in zip(sides, row, strict=True) if level is not None and level[1]]

    def events(self, symbol: Symbol, row: list[tuple[int, float, float]], stamp: Stamp) -> Iterator[Event]:
        levels = symbol.grid.snapshot(row)
        if levels is not None:
            yield BookUpdate(symbol.id, *stamp, levels, snapshot=True, depth=self._depth)


type ChangeRow = tuple[int, tuple[float, float] | None, bool, str | None]
"""Side, price and size, whether it is of a snapshot, group."""


class Changes:
    """Changes of levels: gathered into messages by whoever knows of all instruments."""

    def __init__(self, kind: Change) -> None:
        self.kind = kind
        self._price, self._size = amount(kind.price), amount(kind.size)
        self._sides = _meanings({BID: kind.bid, ASK: kind.ask})
        self.keys = _keys(kind, "price", "size", "side", "group")
        if kind.snapshot is not None:
            self.keys["snapshot"] = kind.snapshot.column

    def read(self, fields: Fields) -> Iterator[ChangeRow]:
        sides = fields.choices(self.kind.side, self._sides)
        levels = fields.levels(self._price, self._size)
        whole = matches(fields, self.kind.snapshot) if self.kind.snapshot else [False] * len(sides)
        groups = fields.texts(self.kind.group) if self.kind.group else [None] * len(sides)
        return zip(sides, levels, whole, groups, strict=True)

    def events(self, symbol: Symbol, row: ChangeRow, stamp: Stamp) -> Iterator[Event]:
        """Add the row to the message at hand."""
        side, level, is_snapshot, _ = row
        if not symbol.has_book and not is_snapshot and self.kind.snapshot is not None:
            symbol.counts["diff_before_snapshot"] += 1
            return
        symbol.has_book = True
        symbol.stamp, symbol.is_snapshot = stamp, is_snapshot
        found = symbol.grid.level(side, *level) if level is not None else None
        if found is not None:
            symbol.message.append(found)
        yield from ()


type OrderRow = tuple[int, str, int | None, float | None, float | None, str | None]
"""Id, what happened, side, price, size, group."""


class Orders:
    """Changes of resting orders."""

    def __init__(self, kind: Order) -> None:
        self.kind = kind
        self._price, self._size = amount(kind.price), amount(kind.size)
        self._sides: dict[str, int | None] = {"": None} | _meanings({BID: kind.bid, ASK: kind.ask})
        self._actions = _meanings({"add": kind.add, "change": kind.change, "delete": kind.delete})
        self.keys = _keys(kind, "id", "price", "size", "side", "action", "group")

    def read(self, fields: Fields) -> Iterator[OrderRow]:
        sides = fields.choices(self.kind.side, self._sides)
        sizes = fields.numbers(self._size)
        for i, size in enumerate(sizes):
            if size is not None and size < 0:
                raise fields.error(self._size.column, i, "a size")
        actions = fields.choices(self.kind.action, self._actions) if self.kind.action else ["size"] * len(sides)
        groups = fields.texts(self.kind.group) if self.kind.group else [None] * len(sides)
        ids = []
        for i, text in enumerate(fields.texts(self.kind.id)):
            if not text:
                raise fields.error(self.kind.id, i, "an order's id")
            ids.append(_order_id(text))
        return zip(ids, actions, sides, fields.numbers(self._price), sizes, groups, strict=True)

    def events(self, symbol: Symbol, row: OrderRow, stamp: Stamp) -> Iterator[Event]:
        oid, action, side, price, size, group = row
        known = symbol.orders.get(oid)
        if action == "size":
            action = "delete" if size == 0 else "change" if known else "add"
        if action == "add" and known is not None:
            symbol.counts["duplicate_order"] += 1
            return
        if action != "add" and known is None:
            symbol.counts["unknown_order"] += 1
            return
        if action == "delete":
            assert known is not None
            del symbol.orders[oid]
            yield from symbol.order(OrderUpdate(symbol.id, *stamp, oid, *known, 0), group)
            return
        ticks = known[1] if price is None and known else symbol.grid.ticks(price) if price is not None else None
        side = side or (known[0] if known else None)
        if side is None or size is None or (price is None and known is None):
            symbol.counts["no_side" if side is None else "no_price"] += 1
            return
        if ticks is None:
            return
        lots = symbol.grid.lots(size)
        if lots:
            symbol.orders[oid] = (side, ticks)
        else:
            symbol.orders.pop(oid, None)
        yield from symbol.order(OrderUpdate(symbol.id, *stamp, oid, side, ticks, lots), group)


type TradeRow = tuple[tuple[float, float] | None, int, str]
"""Price and size, aggressor, id."""


class Prints:
    """Trades."""

    def __init__(self, kind: Print) -> None:
        self.kind = kind
        self._price, self._size = amount(kind.price), amount(kind.size)
        self._sides = {"": NO_AGGRESSOR} | _meanings({BUY: kind.buy, SELL: kind.sell, NO_AGGRESSOR: kind.neither})
        self.keys = _keys(kind, "price", "size", "side", "id")

    def read(self, fields: Fields) -> Iterator[TradeRow]:
        count = len(fields)
        sides = fields.choices(self.kind.side, self._sides) if self.kind.side else [NO_AGGRESSOR] * count
        ids = fields.texts(self.kind.id) if self.kind.id else [""] * count
        return zip(fields.levels(self._price, self._size), sides, ids, strict=True)

    def events(self, symbol: Symbol, row: TradeRow, stamp: Stamp) -> Iterator[Event]:
        level, aggressor, key = row
        if key and symbol.trades.again(key):
            symbol.counts["duplicate_trade"] += 1
            return
        found = symbol.grid.level(BID, *level) if level is not None else None
        if found is not None and found[2]:
            yield Trade(symbol.id, *stamp, found[1], found[2], aggressor)
        elif level is None or found is not None or not level[1]:
            symbol.counts["empty_trade"] += 1


def reader(kind: Kind, table: Table) -> Snapshots | Changes | Orders | Prints:
    """What reads a kind of row from a file."""
    match kind:
        case Snapshot():
            return Snapshots(kind, table)
        case Change():
            return Changes(kind)
        case Order():
            return Orders(kind)
        case Print():
            return Prints(kind)


def matches(fields: Fields, when: When) -> list[bool]:
    """For which rows a condition holds."""
    wanted = words(when.words)
    return [word in wanted for word in fields.words(when.column)]


def _keys(kind: Change | Order | Print, *names: str) -> dict[str, str]:
    """Columns by the keys that name them."""
    found: dict[str, Number | None] = {name: getattr(kind, name) for name in names}
    return {name: amount(number).column for name, number in found.items() if number is not None}


def _meanings[T](spelled: Mapping[T, Words]) -> dict[str, T]:
    return {word: meaning for meaning, given in spelled.items() for word in words(given)}


def _numbered(number: Amount, table: Table, key: str) -> dict[int, Amount]:
    """Columns of a pattern by their place, best first: numbered from 0 or 1, with zeros before or without."""
    if "{i}" not in number.column:
        return {0: number}
    before, after = number.column.split("{i}")
    pattern = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    found = {int(m.group(1)): Amount(name, number.unit) for name in table.columns if (m := pattern.fullmatch(name))}
    if not found:
        raise DataError(f"{table.path}: no column is named as the mapping's {key} says: {number.column}")
    places = sorted(found)
    if places != list(range(places[0], places[0] + len(places))) or places[0] > 1:
        raise DataError(f"{table.path}: the columns {number.column} are not numbered on from 0 or 1")
    return {place: found[place] for place in places}


def _order_id(text: str) -> int:
    """An order's number, or of an id with letters a number made of it (63 bits of its BLAKE2)."""
    try:
        number = whole_number(text)
    except ValueError:
        number = -1
    if 0 < number < 1 << 63:
        return number
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1

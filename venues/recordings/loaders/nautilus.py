"""Nautilus' own catalogs: order book deltas (of levels or of orders), depth, best quotes, and trades.

What tells most of an instrument's book is read: deltas, else depth, else quotes. A delta with F_LAST ends an event,
or a later time where the flag was not set; CLEAR empties the book. Deltas are of orders (L3) where two ids were
added at one price, else of levels. The contract table's terms must be those of the catalog's instrument.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

from market.contracts import Contract
from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, Level, OrderUpdate, Trade
from venues.recordings.loaders.base import Recording, Traits
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import Seen, in_time
from venues.recordings.loaders.units import Grid
from venues.recordings.terms import RecordingTerms

_BOOKS = ("deltas", "depths", "quotes")
_LAST = 128
_SIDES = {"BUY": BID, "1": BID, "SELL": ASK, "2": ASK}
_AGGRESSORS = {"BUY": BUY, "BUYER": BUY, "1": BUY, "SELL": SELL, "SELLER": SELL, "2": SELL}
_ADD, _UPDATE, _DELETE, _CLEAR = "ADD", "UPDATE", "DELETE", "CLEAR"
_ACTIONS = {"1": _ADD, "2": _UPDATE, "3": _DELETE, "4": _CLEAR}
_MOST_UNKNOWN = 1_000
_NO_WHOLE_BOOK = "no delta empties the book: what rested before the first is missing until it changes"
_LESS = "the catalog's {} are left out: its {} tell more"


class NautilusLoader:
    """The files of an instrument are one recording."""

    name = "nautilus"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return head.startswith("PAR1") and _kind(path) != ""

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        from venues.recordings.loaders.nautilus_tables import first_time, instrument_of  # pyarrow, as below

        groups: dict[str, dict[str, list[Path]]] = {}
        for path in paths:
            groups.setdefault(instrument_of(path), {}).setdefault(_kind(path), []).append(path)
        recordings = []
        for _, kinds in sorted(groups.items()):
            files = [
                path
                for kind in (*_BOOKS, "trades")
                for path in sorted(kinds.get(kind, []), key=lambda path: (first_time(path), path))
            ]
            if files:
                definitions = sorted(kinds.get("instrument", []))
                alone = not any(kind in kinds for kind in _BOOKS)
                recordings.append(Recording(self.name, (*files, *definitions), trades_alone=alone))
        if not recordings:
            raise DataError(f"{paths[0]}: it defines an instrument; give the files of its book and trades too")
        return recordings

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        from venues.recordings.loaders.nautilus_tables import first_time, instrument_of

        kinds: dict[str, list[Path]] = {}
        for path in recording.files:
            kinds.setdefault(_kind(path), []).append(path)
        named = instrument_of(recording.files[0])
        symbol, dot, exchange = named.rpartition(".")
        if not dot:
            raise DataError(f"{recording.files[0]}: {named!r} is no instrument's id, as BTCUSDT-PERP.BINANCE is")
        first = next((ts for path in recording.files if _kind(path) != "instrument" and (ts := first_time(path))), 0)
        if not first:
            return iter(())
        contract = terms.need(exchange, symbol, first, recording.files[0])
        for path in kinds.get("instrument", []):
            _compare(contract, path)
        book, *others = [kind for kind in _BOOKS if kind in kinds] or [""]
        for kind in others:
            findings.note(contract.id, kind, _LESS.format(kind, book))
        grid = Grid(contract, findings.of(contract.id))
        streams = [_trades(kinds["trades"], grid)] if "trades" in kinds else []
        if book == "deltas":
            streams.append(_deltas(kinds[book], grid, findings))
        elif book:
            streams.append((_depths if book == "depths" else _quotes)(kinds[book], grid))
        ordered = [in_time(stream, findings, recording.name) for stream in streams]
        return heapq.merge(*ordered, key=lambda event: event.ts_recv)  # a trade before the book at one time


def _kind(path: Path) -> str:
    from venues.recordings.loaders.nautilus_tables import kind_of

    return kind_of(path) or ""


def _compare(contract: Contract, path: Path) -> None:
    """Raise where the catalog's instrument has other terms than the table."""
    from venues.recordings.loaders.nautilus_tables import increments

    ours = contract.terms
    for theirs in increments(path):
        is_multiplied = theirs.multiplier in (1, ours.multiplier)
        if (theirs.tick, theirs.lot) != (ours.tick, ours.lot) or not is_multiplied:
            raise DataError(
                f"{path}: {contract.id} has tick {theirs.tick}, lot {theirs.lot} and multiplier {theirs.multiplier} "
                f"in the Nautilus catalog, but {ours.tick}, {ours.lot} and {ours.multiplier} in the contract table; "
                "put a row with the right ones into a file named under data.contracts"
            )


def _depths(paths: list[Path], grid: Grid) -> Iterator[Event]:
    from venues.recordings.loaders.nautilus_tables import batches

    depth = 0
    for path in paths:
        for rows in batches(path):
            sides = rows.sides("bid"), rows.sides("ask")
            depth = max(depth, *(len(levels) for side in sides for levels in side))
            for bids, asks, told, ts in zip(*sides, rows.times("ts_event"), rows.times("ts_init"), strict=True):
                shown = [(BID, *level) for level in bids if level[1]] + [(ASK, *level) for level in asks if level[1]]
                levels = grid.snapshot(shown)
                if levels is not None:
                    yield BookUpdate(grid.contract.id, told, ts, levels, snapshot=True, depth=depth)


def _quotes(paths: list[Path], grid: Grid) -> Iterator[Event]:
    from venues.recordings.loaders.nautilus_tables import batches

    for path in paths:
        for rows in batches(path):
            fields = [rows.amounts(name) for name in ("bid_price", "bid_size", "ask_price", "ask_size")]
            for bid, bid_size, ask, ask_size, told, ts in zip(
                *fields, rows.times("ts_event"), rows.times("ts_init"), strict=True
            ):
                shown = [level for level in ((BID, bid, bid_size), (ASK, ask, ask_size)) if level[2]]
                levels = grid.snapshot(shown)
                if levels is not None:
                    yield BookUpdate(grid.contract.id, told, ts, levels, snapshot=True, depth=1)


def _trades(paths: list[Path], grid: Grid) -> Iterator[Event]:
    from venues.recordings.loaders.nautilus_tables import batches

    seen = Seen()
    for path in paths:
        for rows in batches(path):
            words = rows.words("aggressor_side"), rows.words("trade_id")
            times = rows.times("ts_event"), rows.times("ts_init")
            for price, size, side, key, told, ts in zip(
                rows.amounts("price"), rows.amounts("size"), *words, *times, strict=True
            ):
                if seen.again(f"{key} {told} {price} {size}"):
                    grid.counts["duplicate_trade"] += 1
                    continue
                ticks, lots = grid.ticks(price), grid.lots(size)
                if ticks is not None and lots:
                    yield Trade(grid.contract.id, told, ts, ticks, lots, _AGGRESSORS.get(side, NO_AGGRESSOR))


def _deltas(paths: list[Path], grid: Grid, findings: Findings) -> Iterator[Event]:
    from venues.recordings.loaders.nautilus_tables import batches

    stream = _Orders(grid, findings) if _are_orders(paths) else _Levels(grid, findings)
    for path in paths:
        for rows in batches(path):
            fields = rows.words("action"), rows.words("side"), rows.amounts("price"), rows.amounts("size")
            numbers = rows.integers("order_id"), rows.integers("flags")
            times = rows.times("ts_event"), rows.times("ts_init")
            for action, side, price, size, order, flags, told, ts in zip(*fields, *numbers, *times, strict=True):
                yield from stream.row(_ACTIONS.get(action, action), _SIDES.get(side), price, size, order, (told, ts))
                if flags & _LAST:
                    yield from stream.end()
    yield from stream.end()


def _are_orders(paths: list[Path]) -> bool:
    """Whether two ids were added at one price: then deltas are of orders."""
    from venues.recordings.loaders.nautilus_tables import batches

    ids: dict[float, int] = {}
    for path in paths:
        for rows in batches(path):
            for action, price, order in set(
                zip(rows.words("action"), rows.amounts("price"), rows.integers("order_id"), strict=True)
            ):
                is_added = order and _ACTIONS.get(action, action) == _ADD
                if is_added and ids.setdefault(price, order) != order:
                    return True
    return False


class _Levels:
    """Deltas of price levels, gathered into the events they came in."""

    def __init__(self, grid: Grid, findings: Findings) -> None:
        self.grid, self.id, self.counts, self._findings = grid, grid.contract.id, grid.counts, findings
        self._message: list[Level] = []
        self._clears = self._begun = False
        self._stamp = (0, 0)

    def row(
        self, action: str, side: int | None, price: float, size: float, order: int, stamp: tuple[int, int]
    ) -> Iterator[Event]:
        """Take a delta; yield the event before it, where this one is of another time."""
        if stamp != self._stamp:
            yield from self.end()
            self._stamp = stamp
        if not self._begun and action != _CLEAR:
            self._findings.note(self.id, "whole", _NO_WHOLE_BOOK)
        self._begun = True
        if action == _CLEAR:
            yield from self.clear()
        elif action not in (_ADD, _UPDATE, _DELETE):
            raise DataError(f"{self.id}: {action!r} is no action of an order book delta")
        elif side is None:
            self.counts["no_side"] += 1
        else:
            yield from self.change(action, side, price, 0.0 if action == _DELETE else size, order)

    def clear(self) -> Iterator[Event]:
        """Empty the book."""
        self._message, self._clears = [], True
        yield from ()

    def change(self, action: str, side: int, price: float, size: float, order: int) -> Iterator[Event]:
        """A level has another size."""
        level = self.grid.level(side, price, size)
        if level is not None:
            self._message.append(level)
        yield from ()

    def end(self) -> Iterator[Event]:
        """End the event at hand."""
        if self._message or self._clears:
            yield BookUpdate(self.id, *self._stamp, self._message, snapshot=self._clears)
        self._message, self._clears = [], False


class _Orders(_Levels):
    """Deltas of orders (L3)."""

    def __init__(self, grid: Grid, findings: Findings) -> None:
        super().__init__(grid, findings)
        self._orders: dict[int, tuple[int, int]] = {}
        self._changed = False

    def clear(self) -> Iterator[Event]:
        self._orders.clear()
        yield self._update(0, BID, 0, 0, reset=True)

    def change(self, action: str, side: int, price: float, size: float, order: int) -> Iterator[Event]:
        if not 0 < order < 1 << 63:
            raise DataError(f"{self.id}: {order} is no order's number")
        known = self._orders.get(order)
        if known is None and action != _ADD:
            self._unknown()
            if action == _DELETE:
                return
        if known is not None and action == _ADD:
            self.counts["duplicate_order"] += 1
            return
        level = self.grid.level(side, price, size) if size else None
        if level is not None:
            self._orders[order] = level[:2]
            yield self._update(order, *level)
        elif known is not None:
            del self._orders[order]
            yield self._update(order, *known, 0)

    def end(self) -> Iterator[Event]:
        if self._changed:
            yield OrderUpdate(self.id, *self._stamp, 0, BID, 0, 0)
        self._changed = False

    def _unknown(self) -> None:
        self.counts["unknown_order"] += 1
        if self.counts["unknown_order"] > max(_MOST_UNKNOWN, len(self._orders)):
            raise DataError(
                f"{self.id}: its deltas change {self.counts['unknown_order']:,} orders that were never added; "
                "their ids are not those of orders, or the recording begins without a book"
            )

    def _update(self, order: int, side: int, price: int, size: int, *, reset: bool = False) -> OrderUpdate:
        self._changed = True
        return OrderUpdate(self.id, *self._stamp, order, side, price, size, last=False, reset=reset)

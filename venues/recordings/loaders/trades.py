"""Trades of one instrument as files tell them, one by one with an id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from market.events import BUY, NO_AGGRESSOR, SELL, Trade
from venues.recordings.loaders.base import Rows
from venues.recordings.loaders.order import Seen
from venues.recordings.loaders.units import Grid

TRADES_AT_MATCH = "trades bear no arrival times: each stands at the time of its match"
_SIDES = {"buy": BUY, "sell": SELL, "": NO_AGGRESSOR}
BUYER_WAS_MAKER = {"true": SELL, "false": BUY, "1": SELL, "0": BUY}
"""What words in a column that says whether the buyer was the maker mean."""


def aggressor(word: str) -> int:
    """The taker's side of its word; raises `ValueError` for another word."""
    side = _SIDES.get(word.strip().lower())
    if side is None:
        raise ValueError(f"{word!r} is not buy or sell")
    return side


class Columns(NamedTuple):
    """Names of the columns of a file of trades; `key` is the id's."""

    key: str
    time: str
    price: str
    size: str
    side: str


class TradeRows:
    """An id counts once; a trade of nothing, or off the tick, is left out and counted."""

    def __init__(self, grid: Grid) -> None:
        self._grid, self._seen = grid, Seen()

    def trade(self, key: str, stamp: tuple[int, int], price: str | float, size: str | float, side: int) -> Trade | None:
        """The trade of a row; `stamp` is exchange and arrival time, ns.

        Raises
        ------
        ValueError
            A word is no number.
        DataError
            The price is zero or below, or too large.

        """
        grid = self._grid
        if key and self._seen.again(key):
            grid.counts["duplicate_trade"] += 1
            return None
        lots = grid.lots(size)
        if lots == 0:
            grid.counts["empty_trade"] += 1
            return None
        ticks = grid.ticks(price)
        return Trade(grid.contract.id, *stamp, ticks, lots, side) if ticks is not None else None

    def row(self, row: Rows, ts: int, names: Columns, sides: Mapping[str, int] = _SIDES) -> Trade | None:
        """The trade of a row, with the aggressor by `sides`; `ts` is its only time, ns."""
        price, size = row.optional(names.price), row.optional(names.size)
        if price is None or size is None:
            raise row.error(names.price if price is None else names.size, "a number")
        side = sides.get(row.text(names.side).strip().lower())
        if side is None:
            raise row.error(names.side, " or ".join(list(sides)[:2]))
        return self.trade(row.text(names.key).strip(), (ts, ts), price, size, side)

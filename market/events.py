"""The schema every recording is read into: book updates, order updates (L3) and trades.

Prices are integer ticks and sizes integer lots of the instrument's `Contract`; times are
nanoseconds since the Unix epoch (UTC). `ts_event` is the exchange's clock, `ts_recv` the moment
the message ARRIVED: everything downstream is ordered by arrival, because a strategy can know
nothing earlier. Where a recording has no arrival times, both are the exchange's.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

BID: Final = 1
ASK: Final = 2
BUY: Final = 1
SELL: Final = 2
NO_AGGRESSOR: Final = 0

type Level = tuple[int, int, int]
"""(side, price in ticks, size in lots); size 0 removes the level."""

type OrderLevel = tuple[int, int, int, int]
"""A level and the id of the order whose change made it so, 0 where no order is known."""


class BookUpdate(msgspec.Struct, frozen=True, gc=False):
    """One atomic change of an L2 book.

    Parameters
    ----------
    symbol : str
        `Contract.id` of the instrument.
    ts_event, ts_recv : int
        Exchange and arrival time, ns.
    levels : list[Level]
        Changed levels, or with `snapshot` all levels that are shown.
    snapshot : bool
        The levels replace what was known inside the shown range.
    depth : int
        Levels a side that the feed can show; 0 means the whole book.
    day : int
        Trading day as YYYYMMDD where the recording states it, else 0.

    """

    symbol: str
    ts_event: int
    ts_recv: int
    levels: list[Level]
    snapshot: bool = False
    depth: int = 0
    day: int = 0


class OrderUpdate(msgspec.Struct, frozen=True, gc=False):
    """One resting order after a change (L3): its size is now `size` lots, 0 when it is gone.

    `last` closes an atomic group of changes. A `reset` empties the book before it applies.
    """

    symbol: str
    ts_event: int
    ts_recv: int
    order_id: int
    side: int
    price: int
    size: int
    last: bool = True
    reset: bool = False


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade print; `aggressor` is BUY, SELL or NO_AGGRESSOR where the feed does not tell."""

    symbol: str
    ts_event: int
    ts_recv: int
    price: int
    size: int
    aggressor: int
    day: int = 0


type Event = BookUpdate | OrderUpdate | Trade

type OrderKey = Hashable
"""What tells one order of ours from another: whoever sends orders chooses it."""

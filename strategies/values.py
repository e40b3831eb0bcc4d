"""The plain values that pass between forecast, quoter, differ, limits and venue. Integer ticks and lots."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Market(NamedTuple):
    """What a quoter may know of the market at one book update."""

    bid_ticks: int
    ask_ticks: int
    sigma_ticks: float
    """Standard deviation of the mid price over `horizon_s`."""
    horizon_s: float
    trend_ticks: float
    """Mid price minus its recent mean."""
    regime: int
    """0 calm, 1 normal, 2 volatile."""

    @property
    def mid_ticks(self) -> float:
        return 0.5 * (self.bid_ticks + self.ask_ticks)


class Ladder(NamedTuple):
    """Quotes wanted: `bids` and `asks`, each (levels, 2) int64 of (price in ticks, lots), best first."""

    bids: NDArray[np.int64]
    asks: NDArray[np.int64]


class Kind(IntEnum):
    """What an action does."""

    PLACE = 0
    AMEND = 1
    CANCEL = 2


class Action(NamedTuple):
    """One order action. `order` is the index of the working order that it concerns, -1 for a new one."""

    kind: Kind
    side: int
    price: int
    size: int
    order: int

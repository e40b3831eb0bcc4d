"""The plain values that pass between forecast, quoter, differ, limits and venue. Integer ticks and lots.

Each as Python has it, and as a record of the same fields for compiled functions.
"""

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


MARKET = np.dtype(
    [
        ("bid_ticks", np.int64), ("ask_ticks", np.int64), ("sigma_ticks", np.float64), ("horizon_s", np.float64),
        ("trend_ticks", np.float64), ("regime", np.int64),
    ]
)  # fmt: skip
"""Field for field a `Market`."""

FORECAST = np.dtype(
    [
        ("mid_change_ticks", np.float64), ("spread_ticks", np.float64), ("log_volume", np.float64),
        ("confidence", np.float64),
    ]
)  # fmt: skip
"""Field for field a `Forecast`."""


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


ACTION = np.dtype([(name, np.int64) for name in Action._fields])
"""Field for field an `Action`."""

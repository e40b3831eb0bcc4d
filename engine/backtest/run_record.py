"""What a run leaves, update by update: what the maker saw and did, in compact columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 1 << 18
"""Updates in memory beyond the columns themselves: a day may have millions."""


def parts(count: int) -> Iterator[slice]:
    """So many updates at a time."""
    return (slice(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE))


class Fill(NamedTuple):
    """One fill of ours; `blind` when its order was placed where the feed showed no queue."""

    ts_ns: int
    side: int
    price_ticks: int
    lots: int
    is_maker: bool
    blind: bool
    commission: float


class RunRecord(Protocol):
    """A run as it was recorded, whichever lane it ran in."""

    fills: list[Fill]
    halted: list[str]
    """Why quoting ended for good, at most one reason."""
    actions: list[int]
    """How many orders were placed, amended, cancelled."""
    placed_lots: int

    @property
    def ts_ns(self) -> NDArray[np.int64]:
        """Times of the updates (updates,)."""

    @property
    def touch(self) -> NDArray[np.int64]:
        """(updates, 2): best bid and ask, ticks."""

    @property
    def own(self) -> NDArray[np.int64]:
        """(updates, 2): own best bid and ask wanted, ticks, 0 for none."""

    def quotes(self, updates: NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(updates), 4): touch and own of some updates."""

    @property
    def forecasts(self) -> NDArray[np.float32]:
        """(updates, 4): mid change in ticks, spread in ticks, log1p volume, confidence; NaN for none."""

    @property
    def mid_forecasts(self) -> NDArray[np.float32]:
        """The first column of `forecasts`, as an array of its own (updates,)."""

    @property
    def decision_ns(self) -> NDArray[np.int64]:
        """Time that each decision took on this machine (decisions,); no part of a result."""

    @property
    def mids(self) -> NDArray[np.float64]:
        """Mid price in ticks (updates,)."""


def fills_sha256(record: RunRecord) -> str:
    """Identity of the fills: time, side, price, size of each."""
    digest = hashlib.sha256()
    for fill in record.fills:
        digest.update(f"{fill.ts_ns},{fill.side},{fill.price_ticks},{fill.lots}\n".encode())
    return digest.hexdigest()


def last_mid(record: RunRecord) -> float:
    """Mid price of the last sound update, ticks; 0 before the first."""
    mids = record.mids
    return float(mids[-1]) if len(mids) else 0.0

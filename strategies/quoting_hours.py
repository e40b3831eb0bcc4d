"""When quotes may stand: within sessions, and not just before they end."""

from __future__ import annotations

from typing import Any

import numpy as np

from market.compiled import inlined


@inlined
def contains(opens: Any, stops: Any, ts_ns: int) -> bool:
    """Whether the last session to open by then has not stopped; opens and stops (sessions,) int64 ns, in order."""
    low, high = 0, len(opens)
    while low < high:  # first session that opens later
        middle = (low + high) >> 1
        if opens[middle] <= ts_ns:
            low = middle + 1
        else:
            high = middle
    return low > 0 and ts_ns < stops[low - 1]


class QuotingHours:
    """Sessions as (open, close) in ns, in order; quoting stops `stop_before_close_s` before each close."""

    def __init__(self, sessions: list[tuple[int, int]], stop_before_close_s: float) -> None:
        early = round(stop_before_close_s * 1e9)
        self.opens = np.array([start for start, _ in sessions], np.int64)
        self.stops = np.array([end - early for _, end in sessions], np.int64)

    def contain(self, ts_ns: int) -> bool:
        """Whether a session is open and does not end too soon to quote in it."""
        return contains(self.opens, self.stops, ts_ns)

"""When quotes may stand: within sessions, and not just before they end."""

from __future__ import annotations

from bisect import bisect_right


class QuotingHours:
    """Sessions as (open, close) in ns, in order; quoting stops `stop_before_close_s` before each close."""

    def __init__(self, sessions: list[tuple[int, int]], stop_before_close_s: float) -> None:
        self._opens = [start for start, _ in sessions]
        self._stops = [end - round(stop_before_close_s * 1e9) for _, end in sessions]

    def contain(self, ts_ns: int) -> bool:
        """Whether a session is open and does not end too soon to quote in it."""
        last = bisect_right(self._opens, ts_ns) - 1
        return last >= 0 and ts_ns < self._stops[last]

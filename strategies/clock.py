"""Which time counts for the maker: the engine's, simulated or real, or that of a market that is replayed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from nautilus_trader.common import Clock

CHECK_NS = 1_000_000_000
"""Between looks at staleness, sessions and unanswered commands."""


class MakerClock(Protocol):
    """What the maker asks of time."""

    def attach(self, clock: Clock, check: Callable[[object], None]) -> None:
        """At the start: the engine's clock, and what to do once a second."""

    def now_ns(self) -> int:
        """The time that counts, ns."""

    def took_ns(self, since_ns: int) -> int:
        """How much of that time has passed since `time.perf_counter_ns()` said `since_ns`."""


class SimulatedClock:
    """A backtest's: thinking takes no time."""

    def attach(self, clock: Clock, check: Callable[[object], None]) -> None:
        self._clock = clock
        clock.set_timer_ns("check", CHECK_NS, None, None, check)

    def now_ns(self) -> int:
        return int(self._clock.timestamp_ns())

    def took_ns(self, since_ns: int) -> int:
        return 0


class WallClock(SimulatedClock):
    """The real one: thinking takes as long as it takes."""

    def took_ns(self, since_ns: int) -> int:
        return time.perf_counter_ns() - since_ns


class ReplayedClock:
    """A replayed market's. Whoever replays it calls the maker's `check` once a second of it."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns

    def attach(self, clock: Clock, check: Callable[[object], None]) -> None:
        """The engine's clock is another one's time."""

    def now_ns(self) -> int:
        return self._now_ns()

    def took_ns(self, since_ns: int) -> int:
        return 0

"""Fills of two runs matched one by one: each is matched with at most one of the other's, or with none."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.backtest.run_record import Fill

type Fate = Literal["same", "other_time", "other_size", "ours_only", "theirs_only"]
"""Of a fill: both had it; both, at other times or with other lots; the run alone (ours); the backtest alone."""

_ROUNDED = 0.01  # of a fee: small ones have few digits

SAME_NS = 100_000_000
"""Fills this close in time are the same."""


class Pair(NamedTuple):
    """A fill of ours and the one of theirs that it is matched with; one of them may be missing."""

    ours: Fill | None
    theirs: Fill | None

    @property
    def fate(self) -> Fate:
        if self.theirs is None:
            return "ours_only"
        if self.ours is None:
            return "theirs_only"
        if self.ours.lots != self.theirs.lots:
            return "other_size"
        return "same" if abs(self.ours.ts_ns - self.theirs.ts_ns) <= SAME_NS else "other_time"

    @property
    def costs_differ(self) -> bool:
        """Whether both had it and paid other fees for it, not those that differ by an account's rounding."""
        if self.ours is None or self.theirs is None:
            return False
        one, other = self.ours.commission, self.theirs.commission
        return abs(one - other) > _ROUNDED * max(abs(one), abs(other))

    @property
    def ts_ns(self) -> int:
        """When it came first."""
        return min(fill.ts_ns for fill in self if fill is not None)


def match(ours: Sequence[Fill], theirs: Sequence[Fill], within_ns: int) -> list[Pair]:
    """Match fills of one side and price that are at most so far apart in time: the nearest first.

    Every fill of either is in exactly one pair. Pairs come in order of time.
    """
    by_level: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for j, fill in enumerate(theirs):
        by_level.setdefault((fill.side, fill.price_ticks), []).append((fill.ts_ns, j))
    for times in by_level.values():
        times.sort()
    candidates = []
    for i, fill in enumerate(ours):
        times = by_level.get((fill.side, fill.price_ticks), [])
        first = bisect_left(times, (fill.ts_ns - within_ns, -1))
        last = bisect_right(times, (fill.ts_ns + within_ns, len(theirs)))
        candidates += [(abs(ts - fill.ts_ns), theirs[j].lots != fill.lots, i, j) for ts, j in times[first:last]]
    with_ours: dict[int, int] = {}
    with_theirs: dict[int, int] = {}
    for _, _, i, j in sorted(candidates):
        if i not in with_ours and j not in with_theirs:
            with_ours[i], with_theirs[j] = j, i
    pairs = [Pair(fill, theirs[with_ours[i]] if i in with_ours else None) for i, fill in enumerate(ours)]
    pairs += [Pair(None, fill) for j, fill in enumerate(theirs) if j not in with_theirs]
    return sorted(pairs, key=lambda pair: (pair.ts_ns, pair.ours is None))


def is_near(times: Sequence[int], ts_ns: int, within_ns: int) -> bool:
    """Whether one of some rising times is at most so far from another."""
    first = bisect_left(times, ts_ns - within_ns)
    return first < len(times) and times[first] <= ts_ns + within_ns

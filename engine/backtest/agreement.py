"""Whether the two lanes tell the same story of a day: event by event, and the first place where they do not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backtest.episode import Episode
from engine.backtest.lane.day import LaneRecord
from market.errors import DataError
from market.events import BID
from strategies.observer import Observer
from strategies.values import Action, Kind
from venues.recordings.catalog import Day

type Taken = tuple[int, int, int, int, int]
"""An order action: time, kind, side, price, size."""

_AROUND = 3


class LanesDifferError(DataError):
    """The fast lane and the Nautilus lane do not agree."""


class ActionLog(Observer):
    """Keeps each order action of a run."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []

    def on_actions(self, ts_ns: int, actions: list[Action]) -> None:
        self.taken += [(ts_ns, int(a.kind), a.side, a.price, a.size) for a in actions]


def check_agreement(day: Day, fast: Episode, nautilus: Episode, log: ActionLog) -> None:
    """Raise at the first difference: order actions, fills, what was seen and quoted, counts, PnL.

    Raises
    ------
    LanesDifferError
        With the time, both versions and what came before.

    """
    record = fast.recorder
    assert isinstance(record, LaneRecord)
    ours: list[Taken] = record.taken.tolist()
    differ = [
        _first(day, "order action", ours, log.taken, _action),
        _first(day, "fill", *_fills(fast, nautilus), _fill),
    ]
    found = min((one for one in differ if one is not None), default=None)
    if found is not None:
        raise LanesDifferError(found[1])
    for name in ("ts_ns", "touch", "own", "forecasts"):
        a, b = getattr(record, name), getattr(nautilus.recorder, name)
        if not np.array_equal(a, b, equal_nan=name == "forecasts"):
            raise LanesDifferError(f"{day.instrument} {day.date}: the lanes differ in {name} {_where(a, b, nautilus)}")
    counts = {
        name: (fast.counts.get(name, 0), nautilus.counts.get(name, 0)) for name in {*fast.counts, *nautilus.counts}
    }
    wrong = {name: both for name, both in sorted(counts.items()) if both[0] != both[1]}
    if wrong or record.halted != nautilus.recorder.halted:
        told = ", ".join(f"{name} {one} here and {other} in Nautilus" for name, (one, other) in wrong.items())
        raise LanesDifferError(f"{day.instrument} {day.date}: the lanes count differently: {told or 'the halt'}")
    nautilus.check_identity()  # the account rounds each fill's gain, our ledger does not: within that they are equal
    fast.check_identity()


def _fills(fast: Episode, nautilus: Episode) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    both = [[tuple(fill) for fill in e.recorder.fills] for e in (fast, nautilus)]
    return both[0], both[1]


def _first[T: tuple[float, ...]](
    day: Day, what: str, ours: Sequence[T], theirs: Sequence[T], say: Callable[[tuple[float, ...]], str]
) -> tuple[int, str] | None:
    """Time of the first difference, and a sentence."""
    for i, (one, other) in enumerate(zip_longest(ours, theirs)):
        if one == other:
            continue
        at = min(int(x[0]) for x in (one, other) if x is not None)
        before = "; ".join(say(x) for x in ours[max(i - _AROUND, 0) : i])
        sentence = (
            f"{day.instrument} {day.date}: the lanes differ at {what} {i + 1:,}, {_time(at)}: "
            f"{say(one) if one is not None else 'none'} in the fast lane, "
            f"{say(other) if other is not None else 'none'} in Nautilus"
        )
        return at, f"{sentence} (before it, alike: {before or 'nothing'})"
    return None


def _action(taken: tuple[float, ...]) -> str:
    ts, kind, side, price, size = (int(x) for x in taken)
    return f"{Kind(kind).name.lower()} {'bid' if side == BID else 'ask'} {size} at {price} ({_time(ts)})"


def _fill(fill: tuple[float, ...]) -> str:
    ts, side, price, lots = (int(x) for x in fill[:4])
    return f"{'bought' if side == BID else 'sold'} {lots} at {price} for {fill[6]:g} ({_time(ts)})"


def _time(ts_ns: int) -> str:
    return f"{dt.datetime.fromtimestamp(ts_ns // 10**9, dt.UTC):%H:%M:%S}.{ts_ns % 10**9:09d}"


def _where(a: NDArray[Any], b: NDArray[Any], episode: Episode) -> str:
    if len(a) != len(b):
        return f"({len(a):,} and {len(b):,} updates)"
    differs = a != b if a.dtype.kind != "f" else ~((a == b) | (np.isnan(a) & np.isnan(b)))
    at = int(np.flatnonzero(differs.reshape(len(a), -1).any(1))[0])
    return f"at update {at + 1:,}, {_time(int(episode.recorder.ts_ns[at]))}: {a[at].tolist()} and {b[at].tolist()}"

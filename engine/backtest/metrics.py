"""Metrics: small classes of one shape, each with its definition. All take episodes, so that a total is
the same formula over more of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.backtest.episode import Episode
from engine.backtest.run_record import parts
from market.sessions import SessionClock

MARKOUT_S = (0.1, 1.0, 10.0, 60.0)


class Metric(Protocol):
    """One number of a set of episodes; None where it is not defined."""

    name: str

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        """Compute it."""


class EPnL:
    """PnL of an episode after fees, marked to mid at its end; the sum over episodes. Quote currency."""

    name = "epnl"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        return sum(e.breakdown.net for e in episodes)


class MAP:
    """Mean absolute position: time-weighted mean of |position| over the episode's sessions, lots.

    Breaks of the exchange do not count: nobody can trade in them.
    """

    name = "map_lots"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        area = span = 0.0
        for e in episodes:
            held, time = held_lot_ns(e)
            area, span = area + held, span + time
        return area / span if span else 0.0


class PnLMAP:
    """EPnL / MAP: profit per lot of inventory held; undefined when nothing was held."""

    name = "pnlmap"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        held = MAP().compute(episodes)
        return (EPnL().compute(episodes) or 0.0) / held if held else None


class MaxPosition:
    """Largest |position|, lots."""

    name = "max_position_lots"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        return float(max((e.max_position for e in episodes), default=0))


class Sharpe:
    """Mean over standard deviation of 1-minute PnL changes, times the root of the minutes in an episode.

    Minutes of sessions, breaks left out; undefined where the changes differ by rounding alone. No capital
    base: a ratio to compare quoters on the same days, not an annual return.
    """

    name = "sharpe"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        changes = [_per_minute(e) for e in episodes]
        pooled = np.concatenate(changes) if changes else np.zeros(0)
        if len(pooled) < 2 or pooled.std() <= _residue(episodes):
            return None
        return float(pooled.mean() / pooled.std() * np.sqrt(len(pooled) / len(episodes)))


class MaxDrawdown:
    """Largest fall of equity from its high, within an episode. Quote currency."""

    name = "max_drawdown"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        worst = 0.0
        for e in episodes:
            equity, high = e.equity, 0.0
            for part in parts(len(equity)):
                highs = np.maximum.accumulate(np.maximum(equity[part], high))
                worst, high = max(worst, float((highs - equity[part]).max())), highs[-1]
        return worst


class FillRatio:
    """Lots filled over lots placed."""

    name = "fill_ratio"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        placed = sum(e.recorder.placed_lots for e in episodes)
        return float(sum(int(np.abs(e.signed_lots).sum()) for e in episodes) / placed) if placed else None


class ActionsPerUpdate:
    """Order actions (placements, amendments, cancels) a book update."""

    name = "actions_per_update"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        updates = sum(e.counts.get("book_updates", 0) for e in episodes)
        return sum(sum(e.recorder.actions) for e in episodes) / updates if updates else None


class BlindFillShare:
    """Share of filled lots whose order was placed where the feed shows no queue: these flatter."""

    name = "blind_fill_share"

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        fills = [f for e in episodes for f in e.recorder.fills]
        total = sum(f.lots for f in fills)
        return sum(f.lots for f in fills if f.blind) / total if total else None


class Markout:
    """Lot-weighted mean markout after a time: mid then minus fill price, in our favour, ticks."""

    def __init__(self, seconds: float) -> None:
        self.name = f"markout_{seconds:g}s_ticks"
        self._seconds = seconds

    def compute(self, episodes: Sequence[Episode]) -> float | None:
        values = [e.markouts(self._seconds) for e in episodes]
        lots = [np.abs(e.signed_lots) for e in episodes]
        marks, weights = np.concatenate(values), np.concatenate(lots)
        known = ~np.isnan(marks)
        return float(np.average(marks[known], weights=weights[known])) if known.any() else None


METRICS: tuple[Metric, ...] = (
    EPnL(),
    MAP(),
    PnLMAP(),
    MaxPosition(),
    Sharpe(),
    MaxDrawdown(),
    FillRatio(),
    ActionsPerUpdate(),
    BlindFillShare(),
    *(Markout(s) for s in MARKOUT_S),
)


SHOWN = (
    ("epnl", "EPnL after fees"),
    ("map_lots", "MAP, lots"),
    ("pnlmap", "PnLMAP"),
    ("max_position_lots", "max |position|, lots"),
    ("sharpe", "Sharpe (1-minute)"),
    ("max_drawdown", "max drawdown"),
    ("fills", "fills"),
    ("fill_ratio", "fill ratio"),
    ("blind_fill_share", "share of fills with a queue that is not visible"),
    ("actions_per_update", "order actions per update"),
    ("markout_0_1s_ticks", "markout 0.1 s, ticks"),
    ("markout_1s_ticks", "markout 1 s, ticks"),
    ("markout_10s_ticks", "markout 10 s, ticks"),
    ("markout_60s_ticks", "markout 60 s, ticks"),
)
"""Numbers of a summary that tables show, with their labels."""


def held_lot_ns(episode: Episode) -> tuple[float, float]:
    """|position| integrated over the episode's session time, lots · ns, and that time, ns."""
    passed, held = _session_ns(episode), 0
    if not len(passed):
        return 0.0, 0.0
    for part in parts(len(passed) - 1):
        position = episode.held.at(np.arange(part.start, part.stop))
        held += int((np.abs(position) * np.diff(passed[part.start : part.stop + 1])).sum())
    return float(held), float(passed[-1] - passed[0])


def _session_ns(episode: Episode) -> NDArray[np.int64]:
    """Session time from the first update to each one, ns (updates,): it stands still in breaks."""
    ts = episode.recorder.ts_ns
    if not len(ts):
        return ts
    first = int(ts[0])
    sessions = SessionClock(episode.contract.sessions).closes(first, int(ts[-1]))
    passed = np.zeros(len(ts), np.int64)
    for part in parts(len(ts)):
        for start, end in sessions:
            passed[part] += np.clip(ts[part], max(start, first), end) - max(start, first)
    return passed


def _per_minute(episode: Episode) -> NDArray[np.float64]:
    """Changes of equity from minute to minute of session time."""
    passed = _session_ns(episode)
    if len(passed) < 2:
        return np.zeros(0)
    marks = np.arange(0, passed[-1], 60 * 10**9)
    updates = np.maximum(np.searchsorted(passed, marks, side="right") - 1, 0)
    del passed  # as large as the equity
    return np.diff(episode.equity[updates])


def _residue(episodes: Sequence[Episode]) -> float:
    """What equity can differ by through rounding alone: it is a difference of values this large."""
    largest = 0.0
    for e in episodes:
        if len(e.recorder.ts_ns):
            mids = e.recorder.mids
            worth = max(float(np.abs(e.contract.mark_value(mids[part])).max()) for part in parts(len(mids)))
            del mids
            equity = e.equity
            reached = max(abs(float(equity.min())), abs(float(equity.max())))
            largest = max(largest, worth * float(np.abs(e.signed_lots).sum()), reached)
    return 1e-14 * largest

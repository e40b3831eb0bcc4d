"""What a comparison found, as `compare.json` and `cmm compare --json` have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from engine.compare.counterfactuals import Explained
from engine.compare.matching import Fate, Pair
from engine.compare.recording import Market
from engine.compare.records import Mode, Span
from engine.compare.split import CAUSES, ByFill, Cause, FillValuation, Step, by_cause, changed_by
from engine.reports.numbers import number
from market.contracts import Contract
from market.events import BID
from strategies.values import Kind
from venues.simulation.latency import LatencyConfig

_COUNTS = 0.05
"""Share of all fills that were touched from which on a cause is named."""


LABELS: dict[Cause, str] = {
    "latency": "latency", "data": "data", "fees": "fees", "guards_and_limits": "guards and limits", "queue": "queue",
    "unexplained": "unexplained",
}  # fmt: skip
"""Causes as people read them."""


class Pnl(msgspec.Struct, frozen=True):
    """PnL after fees, open positions marked to the last mid of the recording; settlement currency."""

    run: float
    backtest: float
    difference: float


class StepShown(msgspec.Struct, frozen=True):
    """One change on the way from the backtest to the run."""

    cause: Cause
    what: str
    pnl: float
    share: float
    gained: int
    lost: int
    moved: int
    repriced: int


class FillShown(msgspec.Struct, frozen=True):
    """A fill of the run, of the backtest, or of both; times in ns, price in the contract's units, `worth` is the
    difference that it makes (settlement currency)."""

    fate: Fate
    side: Literal["buy", "sell"]
    price: float
    ours_ts: int | None
    theirs_ts: int | None
    ours_lots: int | None
    theirs_lots: int | None
    worth: float


class LatencyShown(msgspec.Struct, frozen=True):
    """From a book update until a command has arrived, ms: assumed and, of placements that came to rest, measured."""

    assumed_ms: str
    measured_ms: dict[str, float]
    commands: int
    answered: int
    refused: int


class DataShown(msgspec.Struct, frozen=True):
    """Updates in the recording and as the trader saw them; share of the time in which they came late, and how late."""

    updates: int
    seen: int | None
    late_share: float | None
    late_ms: dict[str, float]


class GuardShown(msgspec.Struct, frozen=True):
    """Seconds without quotes by reason, seconds in which a limit refused or cut orders, and the backtest's counts."""

    away_s: dict[str, float]
    bound_s: dict[str, float]
    backtest: dict[str, int]


class DayShown(msgspec.Struct, frozen=True):
    """One recorded day, or all of a run on live data."""

    date: str
    currency: str
    pnl: Pnl
    split: dict[Cause, float]
    changed: dict[Cause, int]
    by_fills: dict[str, float]
    fills: dict[str, int]
    steps: list[StepShown]
    latency: LatencyShown
    data: DataShown
    guard: GuardShown
    matched: list[FillShown]
    notes: list[str]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A run against backtests of the days it traded; all but `days` is summed over them.

    Parameters
    ----------
    split : dict[Cause, float]
        What each cause adds to the run's PnL against the backtest's: they sum to `pnl.difference`.
    changed : dict[Cause, int]
        How many fills each cause brought, took, moved or made cost otherwise. Shares of PnL may cancel, these do not.
    causes : list[Cause]
        Those that count: by the fills that they touched, the most first.
    by_fills : dict[str, float]
        The same difference by what became of fills: extra, missed, sizes, fees.
    fills : dict[str, int]
        Of the run, of the backtest, and by fate.
    folder, page : str
        Where it is kept.

    """

    run: str
    mode: Mode
    instrument: str
    quoter: str
    currency: str
    headline: str
    pnl: Pnl
    split: dict[Cause, float]
    changed: dict[Cause, int]
    causes: list[Cause]
    by_fills: dict[str, float]
    fills: dict[str, int]
    days: list[DayShown]
    notes: list[str]
    folder: str
    page: str


def day_shown(
    date: str, span: Span, market: Market, found: Explained, steps: Sequence[Step],
    pairs: Sequence[Pair], fills: ByFill, value: FillValuation, assumed: LatencyConfig,
) -> DayShown:  # fmt: skip
    """Put what was found about a day into numbers and words."""
    contract = found.assumed.contract
    theirs = value.total(found.assumed.recorder.fills)
    return DayShown(
        date,
        contract.terms.currency,
        Pnl(float(steps[-1].pnl), float(theirs), float(steps[-1].pnl - theirs)),
        {cause: float(share) for cause, share in by_cause(steps).items()},
        changed_by(steps),
        {name: float(getattr(fills, name)) for name in ByFill.__struct_fields__},
        _counts(pairs),
        [_step(step) for step in steps],
        _latency(span, found, assumed),
        _data(market, found),
        _guard(span, found),
        [_fill(pair, contract, value) for pair in pairs],
        [*span.notes, *market.notes, *found.notes],
    )


def total_of(numbers: Sequence[dict[str, float]]) -> dict[str, float]:
    """Summed by name."""
    return {name: sum(one[name] for one in numbers) for name in numbers[0]}


def causes_of(split: dict[Cause, float], changed: dict[Cause, int]) -> list[Cause]:
    """The causes that count, by the fills that they touched, then by their share; what is unexplained comes last."""
    whole = sum(changed.values())
    named = [cause for cause in CAUSES if whole and changed[cause] >= _COUNTS * whole]
    return sorted(named, key=lambda cause: (cause == "unexplained", -changed[cause], -abs(split[cause])))


def headline(
    pnl: Pnl, causes: Sequence[Cause], split: dict[Cause, float], changed: dict[Cause, int], currency: str
) -> str:
    """The comparison in a sentence."""
    if not causes:
        return f"The run made what its backtest makes: {number(pnl.run)} {currency}."
    more = "more" if pnl.difference > 0 else "less"
    named = ", ".join(f"{LABELS[cause]} {number(split[cause])} ({changed[cause]:,} fills)" for cause in causes)
    return (
        f"The run made {number(abs(pnl.difference))} {currency} {more} than its backtest "
        f"({number(pnl.run)} against {number(pnl.backtest)}): {named}."
    )


def _step(s: Step) -> StepShown:
    return StepShown(s.cause, s.what, float(s.pnl), float(s.share), s.gained, s.lost, s.moved, s.repriced)


def _counts(pairs: Sequence[Pair]) -> dict[str, int]:
    fates = [pair.fate for pair in pairs]
    counts = {fate: fates.count(fate) for fate in ("same", "other_time", "other_size", "ours_only", "theirs_only")}
    run = len(pairs) - counts["theirs_only"]
    return {"run": run, "backtest": len(pairs) - counts["ours_only"], **counts}


def _fill(pair: Pair, contract: Contract, value: FillValuation) -> FillShown:
    ours, theirs = pair
    one = ours or theirs
    assert one is not None
    worth = (value.of(ours) if ours is not None else 0) - (value.of(theirs) if theirs is not None else 0)
    return FillShown(
        pair.fate, "buy" if one.side == BID else "sell", float(one.price_ticks * contract.terms.tick),
        ours.ts_ns if ours is not None else None, theirs.ts_ns if theirs is not None else None,
        ours.lots if ours is not None else None, theirs.lots if theirs is not None else None, float(worth),
    )  # fmt: skip


def _latency(span: Span, found: Explained, assumed: LatencyConfig) -> LatencyShown:
    took = [a.took_ns / 1e6 for a in found.arrivals if a.was_taken and a.sent.kind == Kind.PLACE]
    refused = sum(not a.was_taken for a in found.arrivals)
    return LatencyShown(latency_text(assumed), _quantiles(took), len(span.log.sent), len(found.arrivals), refused)


def latency_text(latency: LatencyConfig) -> str:
    """What is assumed of a command's way, in words."""
    legs = (latency.decision, latency.order, latency.feed)
    if all(leg.kind == "constant" for leg in legs):
        return f"{sum(leg.ms for leg in legs):g}"
    return " + ".join(f"{leg.ms:g}" if leg.kind == "constant" else leg.kind for leg in legs)


def _data(market: Market, found: Explained) -> DataShown:
    day, rows = market.day, found.late
    if not market.seen:
        return DataShown(day.book_updates, None, None, {})
    times = np.array([ts for ts, _ in rows] + [day.end_ns], np.int64)
    late = np.array([ms for _, ms in rows])
    held = np.diff(times) if len(rows) else np.zeros(0, np.int64)
    whole = max(day.end_ns - day.start_ns, 1)
    share = float(held[late > 0].sum() / whole) if len(rows) else 0.0
    return DataShown(day.book_updates, len(market.seen), share, _quantiles(late[late > 0].tolist()))


def _guard(span: Span, found: Explained) -> GuardShown:
    away: dict[str, float] = {}
    for one in found.away:
        away[one.reason] = away.get(one.reason, 0.0) + (one.end_ns - one.start_ns) / 1e9
    bound: dict[str, float] = {}
    ends = [*(entry.ts_ns for entry in span.log.bound[1:]), span.log.end_ns]
    for entry, end in zip(span.log.bound, ends, strict=False):
        for name in entry.limits:
            bound[name] = bound.get(name, 0.0) + (end - entry.ts_ns) / 1e9
    counts = found.assumed.counts
    named = {name: n for name, n in counts.items() if n and name.startswith(("pulled_", "bound_", "halted_", "model_"))}
    return GuardShown(_rounded(away), _rounded(bound), named)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not len(values):
        return {}
    levels = {"p5": 0.05, "p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(float(np.quantile(values, q)), 3) for name, q in levels.items()}

"""A difference of PnL split by cause: fills are changed step by step from the backtest's to the run's, and each step's
change of PnL is a share. The shares sum to the difference, to the last digit: money is decimal here."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from engine.backtest.run_record import Fill
from engine.compare.matching import Pair, match
from market.ledger import Ledger
from market.valuation import Valuation

type Cause = Literal["latency", "data", "fees", "guards_and_limits", "queue", "unexplained"]
CAUSES: tuple[Cause, ...] = get_args(Cause.__value__)

_PLACES = Decimal("1e-8")


class Stage(msgspec.Struct, frozen=True):
    """The fills of one counterfactual, what was changed for it, and the cause that this change stands for."""

    cause: Cause
    what: str
    fills: list[Fill]


class Step(msgspec.Struct, frozen=True):
    """What one change came to.

    Parameters
    ----------
    cause : str
    what : str
    pnl : Decimal
        After it.
    share : Decimal
        Of the difference.
    gained, lost, moved, repriced : int
        Fills that came, went, changed time or lots, or cost other fees by it.

    """

    cause: Cause
    what: str
    pnl: Decimal
    share: Decimal
    gained: int
    lost: int
    moved: int
    repriced: int

    @property
    def changed(self) -> int:
        """Fills that it touched."""
        return self.gained + self.lost + self.moved + self.repriced


class ByFill(msgspec.Struct, frozen=True):
    """The same difference by what became of fills; the parts sum to it.

    Parameters
    ----------
    extra : Decimal
        PnL of fills that the run alone had.
    missed : Decimal
        PnL, with its sign turned, of fills that the backtest alone had.
    sizes : Decimal
        Of fills that both had, with other lots: what the lots between them earned, before fees.
    fees : Decimal
        Of fills that both had: what the run paid less.

    """

    extra: Decimal
    missed: Decimal
    sizes: Decimal
    fees: Decimal


class FillValuation:
    """What fills are worth, fees paid, at a mid price in ticks: the ledger's own rule."""

    def __init__(self, mark_value: Valuation, mid_ticks: float) -> None:
        self._mark_value, self._mid = mark_value, mid_ticks

    def of(self, fill: Fill, *, free: bool = False) -> Decimal:
        """Of one fill; `free` of fees."""
        ledger = Ledger(self._mark_value)
        ledger.on_fill(fill.side, fill.price_ticks, fill.lots, 0.0 if free else fill.commission)
        return Decimal(ledger.equity(self._mid)).quantize(_PLACES)

    def total(self, fills: Sequence[Fill]) -> Decimal:
        """Of all of them."""
        return sum((self.of(fill) for fill in fills), Decimal(0))


def steps_of(start: Sequence[Fill], stages: Sequence[Stage], value: FillValuation, within_ns: int) -> list[Step]:
    """What each stage changed against the one before it."""
    found = []
    before, pnl = start, value.total(start)
    for stage in stages:
        after = value.total(stage.fills)
        pairs = match(stage.fills, before, within_ns)
        fates = [pair.fate for pair in pairs]
        moved = fates.count("other_time") + fates.count("other_size")
        repriced = sum(pair.fate == "same" and pair.costs_differ for pair in pairs)
        gained, lost = fates.count("ours_only"), fates.count("theirs_only")
        found.append(Step(stage.cause, stage.what, after, after - pnl, gained, lost, moved, repriced))
        before, pnl = stage.fills, after
    return found


def by_cause(steps: Sequence[Step]) -> dict[Cause, Decimal]:
    """Shares summed by cause."""
    return {cause: sum((step.share for step in steps if step.cause == cause), Decimal(0)) for cause in CAUSES}


def changed_by(steps: Sequence[Step]) -> dict[Cause, int]:
    """Fills touched, by cause: one that two steps touched counts twice."""
    return {cause: sum(step.changed for step in steps if step.cause == cause) for cause in CAUSES}


def by_fill(pairs: Sequence[Pair], value: FillValuation) -> ByFill:
    """The difference by what became of fills."""
    extra = missed = sizes = fees = Decimal(0)
    for ours, theirs in pairs:
        if theirs is None and ours is not None:
            extra += value.of(ours)
        elif ours is None and theirs is not None:
            missed -= value.of(theirs)
        elif ours is not None and theirs is not None:
            free = value.of(ours, free=True) - value.of(theirs, free=True)
            sizes += free
            fees += value.of(ours) - value.of(theirs) - free
    return ByFill(extra, missed, sizes, fees)

"""An episode: one trading day of one instrument, traded from flat to its end, and where its PnL came from."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np
from nautilus_trader.model import Currency
from numpy.typing import NDArray

from engine.backtest.run_record import RunRecord, parts
from market.contracts import Contract, Fees
from market.events import BID
from venues.simulation.fees import FeeSchedule, FeesConfig


class Steps[T: np.generic](NamedTuple):
    """A running total that changes at some updates alone: before the first of `starts` it is 0."""

    starts: NDArray[np.int64]
    totals: NDArray[T]

    def at(self, updates: NDArray[np.int64]) -> NDArray[T]:
        """The total after each of these updates."""
        found = np.zeros(len(self.totals) + 1, self.totals.dtype)
        found[1:] = self.totals
        return found[np.searchsorted(self.starts, updates, side="right")]

    def after_each(self, count: int) -> NDArray[T]:
        """The total after each of so many updates."""
        result = np.zeros(count, self.totals.dtype)
        for start, stop, total in zip(self.starts, np.append(self.starts, count)[1:], self.totals, strict=True):
            result[start:stop] = total
        return result


class Breakdown(msgspec.Struct, frozen=True):
    """net = spread_capture + drift − fees + rebates + unexplained, all in settlement currency.

    `net` is what fills brought in plus the open position marked to mid: as the venue's account kept it in the Nautilus
    lane, as the maker's own ledger did in the fast one. The parts are computed from the record of our fills; whatever
    does not add up shows as unexplained.
    """

    net: float
    spread_capture: float
    drift: float
    fees: float
    rebates: float
    unexplained: float


class Episode(msgspec.Struct, dict=True):
    """What an episode left: recorder, the venue's net, counters."""

    date: dt.date
    contract: Contract
    recorder: RunRecord
    venue_net: float
    counts: dict[str, int]
    wall_s: float

    @cached_property
    def fill_index(self) -> NDArray[np.int64]:
        """RunRecorder index of the book that stood at each fill (fills,)."""
        times = np.array([fill.ts_ns for fill in self.recorder.fills], np.int64)
        return np.maximum(np.searchsorted(self.recorder.ts_ns, times, side="right") - 1, 0)

    @cached_property
    def signed_lots(self) -> NDArray[np.int64]:
        """Lots of each fill, positive for buys (fills,)."""
        return np.array([f.lots if f.side == BID else -f.lots for f in self.recorder.fills], np.int64)

    @cached_property
    def prices(self) -> NDArray[np.float64]:
        """Price of each fill, ticks (fills,)."""
        return np.array([fill.price_ticks for fill in self.recorder.fills], np.float64)

    def running[T: np.generic](self, amounts: NDArray[T]) -> Steps[T]:
        """The running total, over updates, of an amount for each fill (fills,)."""
        starts, places = np.unique(self.fill_index, return_inverse=True)
        change = np.zeros(len(starts), amounts.dtype)
        np.add.at(change, places, amounts)
        return Steps(starts, np.cumsum(change, dtype=amounts.dtype))

    @cached_property
    def held(self) -> Steps[np.int64]:
        """The position, by the updates at which it changes."""
        return self.running(self.signed_lots)

    @property
    def max_position(self) -> int:
        """Largest |position|, lots."""
        return int(np.abs(self.held.totals).max(initial=0))

    @property
    def position(self) -> NDArray[np.int64]:
        """Position after each update and the fills before the next (updates,)."""
        return self.held.after_each(len(self.recorder.ts_ns))

    @property
    def equity(self) -> NDArray[np.float64]:
        """PnL after fees marked to mid after each update, quote currency (updates,)."""
        mark_value, mids = self.contract.mark_value, self.recorder.mids
        commissions = np.array([fill.commission for fill in self.recorder.fills])
        flow = self.running(-self.signed_lots * mark_value(self.prices) - commissions)
        result = flow.after_each(len(mids))
        for part in parts(len(mids)):
            result[part] += self.held.at(np.arange(part.start, part.stop)) * mark_value(mids[part])
        return result

    @cached_property
    def breakdown(self) -> Breakdown:
        mark_value, mids = self.contract.mark_value, self.recorder.mids
        capture = drift = 0.0
        if len(mids):
            stood = mark_value(mids[self.fill_index])
            capture = float((self.signed_lots * (stood - mark_value(self.prices))).sum())
            gains = np.empty(len(mids) - 1)
            for part in parts(len(gains)):
                change = np.diff(mark_value(mids[part.start : part.stop + 1]))
                gains[part] = self.held.at(np.arange(part.start, part.stop)) * change
            drift = float(gains.sum())
        costs = [fill.commission for fill in self.recorder.fills]
        fees, rebates = sum(c for c in costs if c > 0), -sum(c for c in costs if c < 0)
        explained = capture + drift - fees + rebates
        return Breakdown(self.venue_net, capture, drift, fees, rebates, self.venue_net - explained)

    def check_identity(self) -> None:
        """Raise unless the venue's account and our own fills tell the same PnL, to its rounding."""
        turnover = float((np.abs(self.signed_lots) * np.abs(self.contract.mark_value(self.prices))).sum())
        cent = 10.0 ** -Currency.from_str(self.contract.terms.currency).precision  # the account rounds each fill to it
        allowed = cent * (5.0 + 3.0 * len(self.recorder.fills) ** 0.5) + 1e-12 * turnover
        if abs(self.breakdown.unexplained) > allowed:
            raise RuntimeError(
                f"{self.date}: PnL of {self.breakdown.unexplained:.4f} is unexplained (allowed {allowed:.4f}): "
                "the venue's account and our fills disagree"
            )

    def net_under(self, fees: Fees, config: FeesConfig | None = None) -> float:
        """Net PnL of the same fills under other fees: what they would have cost, not what they would have been."""
        schedule = FeeSchedule(self.contract, fees, config)
        cost = sum(schedule.charge(f.side, f.price_ticks, f.lots, is_maker=f.is_maker) for f in self.recorder.fills)
        b = self.breakdown
        return b.spread_capture + b.drift - cost

    def markouts(self, seconds: float) -> NDArray[np.float64]:
        """Mid after `seconds` minus fill price, in our favour, ticks (fills,); NaN past the end."""
        times = np.array([fill.ts_ns for fill in self.recorder.fills], np.int64) + round(seconds * 1e9)
        if not len(times):
            return np.zeros(0)
        index = np.searchsorted(self.recorder.ts_ns, times, side="right") - 1
        gain = np.sign(self.signed_lots) * (self.recorder.mids[np.maximum(index, 0)] - self.prices)
        return np.where(times <= self.recorder.ts_ns[-1], gain, np.nan)

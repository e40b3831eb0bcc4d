"""One instrument's CTP rows as trades and snapshots.

The feed has no trades. Between two rows ΔVolume lots traded at the average price
ΔTurnover / (ΔVolume x multiplier); they are split over the two ticks around that average, so that
volume and turnover are kept. Who was aggressor shows against the PREVIOUS row's quote.
"""

from __future__ import annotations

import math

from market.contracts import Contract
from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, Level, Trade
from market.sessions import NS_PER_S, SessionClock
from venues.recordings.loaders.ctp_time import Row, by_neighbours, is_impossible, place, spread
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.units import Grid

STALE_NS = 5 * NS_PER_S
"""Over a longer gap nobody knows when and where volume traded: it is dropped, not interpolated. A row older
by more than that is an error, not jitter to be dropped."""

_PLAUSIBLE_TICKS = 3  # an interval's average may lie this far, and its range, outside what two rows show
_NEVER_AGREES = 3  # intervals after which a turnover that never agreed is one remark
_BOTH_SIDES = frozenset({"SHFE", "INE", "DCE", "CZCE"})
_ONE_SIDE_FROM = 20_200_101  # these exchanges counted buyers and sellers until the end of 2019
_NEAR_ZERO_TICKS = 50


class _Placed:
    """A row with its time and trading day; its best prices in ticks once it is taken, None for none."""

    __slots__ = ("ask", "bid", "day", "row", "ts")

    def __init__(self, row: Row, ts: int, day: int) -> None:
        self.row, self.ts, self.day = row, ts, day
        self.bid: int | None = None
        self.ask: int | None = None


class CtpStream:
    """Turns one instrument's rows into trades and snapshots; looks one row ahead."""

    def __init__(self, contract: Contract, findings: Findings) -> None:
        self._contract, self._findings = contract, findings
        self._counts = findings.of(contract.id)
        self._grid = Grid(contract, self._counts)
        self._clock = SessionClock(contract.sessions)
        self._last = 0  # time of the last row that was taken
        self._held: _Placed | None = None
        self._second: list[_Placed] = []  # rows of one whole second
        self._fine = False  # time stamps have shown fractions of a second
        self._taken: _Placed | None = None  # the row that trades are reckoned from
        self._sides = 0
        self._agreed = self._missed = 0
        self._out: list[Event] = []

    def events(self, row: Row) -> list[Event]:
        """Take the next row; returns what the ones before it came to."""
        ts, day = place(row, self._contract.exchange, self._clock)
        if is_impossible(row):
            self._counts["far_stamp"] += 1
            return []
        before = self._held.ts if self._held is not None else self._last
        if before:
            moved = by_neighbours(ts, before, self._clock, STALE_NS)
            if moved != ts:
                self._counts["day_stamp_corrected"] += 1
                ts = moved
        if not self._clock.is_open(ts):  # before the order of time: stale rows of another session come first
            self._counts["outside_session"] += 1
            return []
        held, self._held = self._held, _Placed(row, ts, day)
        if held is not None:
            self._judge(held, self._held)
        out, self._out = self._out, []
        return out

    def finish(self) -> list[Event]:
        """What the last rows came to."""
        if self._held is not None:
            self._judge(self._held, None)
        self._flush()
        self._end_day()
        return self._out

    def _judge(self, placed: _Placed, after: _Placed | None) -> None:
        """Decide about a row by the one after it."""
        row, ts = placed.row, placed.ts
        if row.last == 0 and not row.volume and self._is_warm_up(placed, after):
            self._counts["warm_up"] += 1
        elif after is not None and ts - after.ts > STALE_NS and 0 < self._last <= after.ts:
            self._counts["far_stamp"] += 1  # alone in the future
        elif self._last - ts > STALE_NS:
            if after is None or after.ts < self._last - STALE_NS:
                path, line = row.where
                raise DataError(
                    f"{path}, line {line}: time runs backwards by {(self._last - ts) / 1e9:.1f} s; "
                    "sort the file by time first"
                )
            self._counts["far_stamp"] += 1
        elif ts < self._last and not self._is_news(row):
            self._counts["out_of_order"] += 1
        else:
            if ts < self._last:
                self._counts["clock_back"] += 1
            placed.ts = self._last = max(ts, self._last)
            self._in_its_second(placed)

    def _is_warm_up(self, placed: _Placed, after: _Placed | None) -> bool:
        """A row of zeros before the feed knew the day's state; not one of a day without a trade so far."""
        if after is None or not after.row.volume:
            return False
        before = self._second[-1] if self._second else self._taken
        return before is None or bool(before.row.volume) or after.ts < placed.ts

    def _is_news(self, row: Row) -> bool:
        """A row that is late by its stamp and yet tells of more volume than the ones before."""
        before = self._second[-1] if self._second else self._taken
        return before is not None and (row.volume or 0) > (before.row.volume or 0)

    # ── coarse time stamps ────────────────────────────────────────────────────────────────────

    def _in_its_second(self, placed: _Placed) -> None:
        """Hold the rows of a whole second until it is over, as long as no finer stamp has been seen."""
        self._fine = self._fine or placed.ts % NS_PER_S != 0
        if self._fine:
            self._flush()
            self._take(placed)
            return
        if self._second and self._second[0].ts != placed.ts:
            self._flush()
        self._second.append(placed)

    def _flush(self) -> None:
        rows, self._second = self._second, []
        if len(rows) > 1 and not self._fine:
            self._counts["spread_over_second"] += len(rows)
            for placed, ts in zip(rows, spread(rows[0].ts, len(rows)), strict=True):
                placed.ts = ts
        for placed in rows:
            self._take(placed)

    # ── the book ──────────────────────────────────────────────────────────────────────────────

    def _take(self, placed: _Placed) -> None:
        row = placed.row
        levels = self._levels(row)
        if levels is None:
            return
        if not levels:
            self._counts["no_quote"] += 1
            return
        bids = [price for side, price, _ in levels if side == BID]
        asks = [price for side, price, _ in levels if side == ASK]
        if bids and asks and max(bids) >= min(asks):
            self._counts["crossed"] += 1
            return
        placed.bid = bids[0] if bids and row.bids[0][1] > 0 else None
        placed.ask = asks[0] if asks and row.asks[0][1] > 0 else None
        if self._taken is None or placed.day != self._taken.day:
            self._end_day()
            self._sides = self._sides_of(placed)
        self._trades(placed)
        if row.volume is not None or self._taken is None:
            self._taken = placed
        depth = max(len(row.bids), len(row.asks))
        ts = placed.ts
        update = BookUpdate(self._contract.id, ts, ts, levels, snapshot=True, depth=depth, day=placed.day)
        self._out.append(update)

    def _levels(self, row: Row) -> list[Level] | None:
        shown = []
        for side, levels in ((BID, row.bids), (ASK, row.asks)):
            for price, size in levels:
                if size <= 0:
                    continue
                if price == 0 and abs(row.last or 0.0) > _NEAR_ZERO_TICKS * self._contract.tick:
                    continue  # no price, whatever size the vendor left there
                shown.append((side, price, size))
        return self._grid.snapshot(shown)

    # ── trades ────────────────────────────────────────────────────────────────────────────────

    def _sides_of(self, placed: _Placed) -> int:
        day = placed.day or int(self._clock.trading_day(placed.ts).strftime("%Y%m%d"))
        if self._contract.exchange not in _BOTH_SIDES or day >= _ONE_SIDE_FROM:
            return 1
        self._findings.note(
            self._contract.id,
            "both_sides",
            "until the end of 2019 the exchange counted every lot for its buyer and its seller: volume is halved",
        )
        return 2

    def _trades(self, placed: _Placed) -> None:
        row, before = placed.row, self._taken
        if before is None or row.volume is None or before.row.volume is None:
            return  # the first row's volume is the whole day's so far
        volume = row.volume - before.row.volume
        if volume < 0:
            self._counts["volume_fell"] += 1
            return
        if volume == 0:
            return
        if self._sides == 2 and volume % 2:
            self._sides = 1
            self._findings.note(
                self._contract.id,
                "both_sides",
                "volume moves by odd numbers: the vendor has halved what the exchange counted twice until 2019",
            )
        if placed.ts - before.ts > STALE_NS:
            self._counts["volume_across_gap"] += 1
            return
        average = self._average_ticks(row, before.row, volume)
        if average is None:
            if not before.row.volume:
                self._counts["first_volume_unplaced"] += 1
                return
            average = self._last_ticks(row, before.row)
            if average is None:
                self._counts["no_last_price"] += 1
                return
        for price, lots in split_interval(average, round(volume / self._sides)):
            if price <= 0:
                raise DataError(
                    f"{self._contract.id}: a trade at zero or below cannot be traded here yet; leave it out"
                )
            side = _aggressor(price, before.bid, before.ask)
            trade = Trade(self._contract.id, placed.ts, placed.ts, price, lots, side, day=placed.day)
            self._out.append(trade)

    def _average_ticks(self, row: Row, before: Row, volume: float) -> float | None:
        """Average price of the interval, in ticks; None where turnover and volume do not agree.

        CZCE's turnover leaves the multiplier out on some feeds and on others is volume times the
        DAY's average price, whose difference means nothing: an average that lies away from both
        rows' quotes and last prices is not believed.
        """
        if row.turnover is None or before.turnover is None:
            return None
        seen = [price for price in (row.last, before.last) if price]
        seen += [price for r in (row, before) for price, size in (*r.bids[:1], *r.asks[:1]) if size > 0]
        low, high = min(seen), max(seen)
        slack = (high - low) + _PLAUSIBLE_TICKS * self._contract.tick
        paid = (row.turnover - before.turnover) / volume
        for scale in (float(self._contract.terms.multiplier), 1.0):
            if low - slack <= paid / scale <= high + slack:
                self._agreed += 1
                return paid / scale / self._contract.tick
        self._missed += 1
        self._counts["turnover_mismatch"] += 1
        return None

    def _last_ticks(self, row: Row, before: Row) -> float | None:
        """The price at which volume prints whose turnover is not believed."""
        last = row.last or before.last
        return last / self._contract.tick if last else None

    def _end_day(self) -> None:
        """A turnover that agreed with no interval of the day is one remark, not a count."""
        if self._missed >= _NEVER_AGREES and not self._agreed:
            self._counts["turnover_mismatch"] -= self._missed
            self._findings.note(
                self._contract.id,
                "turnover",
                f"turnover agrees with volume in none of {self._missed:,} intervals (CZCE gives volume times the day's "
                "average price): all volume is printed at the last price",
            )
        self._agreed = self._missed = 0


def _aggressor(price: int, bid: int | None, ask: int | None) -> int:
    """Who crossed the previous row's spread: above its mid the buyer, below it the seller."""
    if ask is None:
        return SELL if bid is not None and price <= bid else NO_AGGRESSOR
    if bid is None:
        return BUY if price >= ask else NO_AGGRESSOR
    side = 2 * price - bid - ask
    return BUY if side > 0 else SELL if side < 0 else NO_AGGRESSOR


def split_interval(average_ticks: float, lots: int) -> list[tuple[int, int]]:
    """Split an interval's volume over the two ticks around its average price.

    Returns (price in ticks, lots), zero lots left out; volume is kept exactly and turnover to
    the lot that rounding leaves.
    """
    low = math.floor(average_ticks + 1e-9)
    high_lots = round(lots * (average_ticks - low))
    return [(p, n) for p, n in ((low, lots - high_lots), (low + 1, high_lots)) if n > 0]

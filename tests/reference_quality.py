"""A recorded day measured event by event: the slow reference of `venues.recordings.quality`."""

from __future__ import annotations

from collections import Counter

from market.level_book import LevelBook
from market.sessions import SessionClock
from venues.recordings.catalog import Catalog, Day
from venues.recordings.moments import apply, moments
from venues.recordings.quality import GAP_S, Quality, Series, Tally, quality


def measured(catalog: Catalog, day: Day, keep: int) -> tuple[Quality, Series]:
    """As `measure`, with every `keep`-th update in the series."""
    closes = SessionClock(catalog.contract(day).sessions).closes(day.start_ns, day.end_ns)
    book, series, spreads, gaps = LevelBook(), Series([], [], [], []), Counter[int](), list[tuple[int, int]]()
    count, mids = Counter[str](), list[float]()
    covered = spread_area = touch_area = levels_area = 0.0
    last, bid, ask = 0, 0, 0
    for ts, _, changes, trade, _ in moments(catalog, day):
        if last and ts - last > GAP_S * 1e9:
            gaps += [(last, ts)] * any(start <= last and ts <= end for start, end in closes)
        elif last and 0 < bid < ask:
            seconds = (ts - last) / 1e9
            covered += seconds
            spread_area += seconds * (ask - bid)
            touch_area += seconds * (book.bids[bid] + book.asks[ask]) / 2
            levels_area += seconds * (len(book.bids) + len(book.asks)) / 2
        last = ts
        if trade is not None:
            price, lots, side = trade
            count.update(trades=1, lots=lots, bought=lots * (side == 1), sold=lots * (side == 2))
            count["outside"] += bool(bid and ask) and not bid <= price <= ask
            series.trades.append((ts, *trade))
            continue
        apply(book, changes)
        before, (bid, ask) = (bid, ask), (book.best_bid() or 0, book.best_ask() or 0)
        count.update(updates=1, touch_changes=(bid, ask) != before, one_sided=not (bid and ask))
        count["crossed"] += 0 < ask <= bid
        if 0 < bid < ask:
            spreads[ask - bid] += 1
            mids.append((bid + ask) / 2)
        if count["updates"] % keep == 0 and bid and ask:
            series.ts_ns.append(ts)
            series.mid.append((bid + ask) / 2)
            series.spread.append(ask - bid)
    names = ("updates", "touch_changes", "trades", "lots", "bought", "sold", "outside", "crossed", "one_sided")
    areas = (covered, spread_area, touch_area, levels_area)
    mid_range = max(mids) - min(mids) if mids else 0.0
    return quality(day, Tally(*(count[name] for name in names), *areas, dict(spreads), gaps, mid_range)), series

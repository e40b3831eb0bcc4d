"""What a simulator cannot tell, measured on real recordings as far as they allow.

Reads the recordings named by CMM_DATA (default ../shared/data): an hour of CME ES and five hours of
Bitstamp order by order, five minutes of Binance perpetuals.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from engine.backtest.nautilus_lane import run_day
from engine.calibration.hypothetical_orders import L3Day, load
from engine.config import Config
from engine.plan import Plan
from market.contracts import ContractTable
from market.events import ASK, BID, BookUpdate, Event, OrderUpdate, Trade
from market.level_book import LevelBook
from strategies.quoters import OffsetConfig
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events, import_recording
from venues.recordings.loaders import LOADERS, recordings
from venues.simulation.exchange import RecordedOrders
from venues.simulation.latency import DelayConfig, LatencyConfig

_SECOND = 10**9
_AFTER_S = (1.0, 10.0)
_SNAPSHOT_NS = 500_000_000


def main() -> None:
    """Print all measurements."""
    data = Path(os.environ.get("CMM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not data.is_dir():
        print(f"blindness: no recordings at {data} (set CMM_DATA)")
        return
    with tempfile.TemporaryDirectory(prefix="cmm-bench-") as folder:
        catalog = Catalog(Path(folder), ContractTable())
        named: list[Day] = []
        for pattern in ("databento/esh4-*", "bitstamp/*", "binance/usdm_*"):
            for recording in recordings(sorted(data.glob(pattern))):
                named += import_recording(catalog, recording, lambda *_: None).days
        for day in named:
            if day.orders and day.trades > 100:
                _responses(load(catalog, day))
        for pattern in ("databento/esh4-*", "binance/usdm_eth*", "binance/usdm_btc*"):
            _snapshots(data, pattern, Path(folder))


def _responses(l3: L3Day) -> None:
    """Impact of trades, reaction to orders that join the touch, liquidity that was not shown."""
    book = RecordedOrders()
    times: list[int] = []
    mids: list[float] = []
    trades: list[tuple[int, int, int]] = []
    joins: list[tuple[int, int, int]] = []
    beyond = traded = 0
    left: dict[tuple[int, int], int] = {}
    for step in l3.steps:
        if len(step) == 5 and isinstance(step[2], int):
            now, _, price, lots, aggressor = step
            side = BID if aggressor == 2 else ASK
            trades.append((now, 1 if aggressor == 1 else -1, lots))  # type: ignore[arg-type]
            shown = left.get((side, price), book.lots(side, price))  # type: ignore[arg-type]
            beyond += max(lots - shown, 0)  # type: ignore[operator]
            traded += lots  # type: ignore[operator]
            left[side, price] = max(shown - lots, 0)  # type: ignore[index,operator]
            continue
        now, rows, owners, clear = step[0], step[2], step[3], step[4]
        bid, ask = book.best(BID), book.best(ASK)
        for side, price, size in rows if bid and ask else []:  # type: ignore[misc]
            grown = size - book.lots(side, price)
            if grown > 0 and price == (bid if side == BID else ask):
                joins.append((now, 1 if side == BID else -1, grown))
        book.take(np.array(rows, np.int64).reshape(-1, 3), owners, clear)  # type: ignore[arg-type]
        left.clear()
        if book.best(BID) and book.best(ASK):
            times.append(now)
            mids.append(0.5 * (book.best(BID) + book.best(ASK)))
    at, mid = np.array(times), np.array(mids)
    print(
        f"\n{l3.day.instrument} {l3.day.date}, in ticks; {len(trades):,} trades, {len(joins):,} orders joining the touch"
    )
    for name, rows in (("trade", trades), ("order joining the touch", joins)):
        ts, sign, lots = (np.array(column) for column in zip(*rows, strict=True))
        large = lots >= np.quantile(lots, 0.9)
        for label, keep in (("all", lots > 0), ("largest tenth", large)):
            before = mid[np.maximum(np.searchsorted(at, ts[keep]) - 1, 0)]
            moves = []
            for after in _AFTER_S:
                then = mid[np.minimum(np.searchsorted(at, ts[keep] + after * _SECOND, side="right") - 1, len(mid) - 1)]
                moved = sign[keep] * (then - before)
                moves.append(f"{moved.mean():+.3f} ± {2 * moved.std() / np.sqrt(len(moved)):.3f} after {after:g} s")
            print(f"  mid moves with a {name} ({label}): {', '.join(moves)}")
    print(f"  traded beyond what the level showed: {100 * beyond / max(traded, 1):.2f}% of the lots")


def snapshots(events: Iterable[Event]) -> Iterator[Event]:
    """A feed as a CTP exchange would send it: five levels each 500 ms, an interval's trades with it."""
    book, due = LevelBook(), 0
    waiting: list[Trade] = []
    for event in events:
        if due and event.ts_recv >= due:
            for trade in waiting:
                yield msgspec.structs.replace(trade, ts_event=due, ts_recv=due)
            waiting = []
            levels = [(side, p, size) for side in (BID, ASK) for p, size in book.top(side, 5)]
            if not book.is_crossed():
                yield BookUpdate(event.symbol, due, due, levels, snapshot=True, depth=5)
            due = event.ts_recv - event.ts_recv % _SNAPSHOT_NS + _SNAPSHOT_NS
        due = due or event.ts_recv + _SNAPSHOT_NS
        if isinstance(event, Trade):
            waiting.append(event)
        elif isinstance(event, BookUpdate):
            book.apply(event)


def _snapshots(data: Path, pattern: str, folder: Path) -> None:
    """The same market event by event and as snapshots: what a baseline would have made of each."""
    (recording,) = recordings(sorted(data.glob(pattern)))
    table = ContractTable()
    events = list(LOADERS[recording.format].events(recording, table, Counter()))
    if any(isinstance(e, OrderUpdate) for e in events):
        events = list(_levels(events))
    print(f"\n{recording.name}: a ladder at the touch, event by event and as 500 ms snapshots; zero fees")
    found: dict[str, list[str]] = {}
    for name, feed, format_name in (
        ("events", iter(events), recording.format),
        ("snapshots", snapshots(events), "ctp"),
    ):
        catalog = Catalog(folder / f"{pattern.replace('/', '-').replace('*', '')}-{name}", table)
        days = import_events(catalog, feed, name, format_name, [], Counter(), lambda *_: None).days
        day = max(days, key=lambda d: d.trades)
        for ms in (2.0, 100.0):
            config = Config()
            venue = msgspec.structs.replace(config.venue, latency=LatencyConfig(order=DelayConfig(ms=ms)))
            strategy = msgspec.structs.replace(config.strategy, offset=OffsetConfig(offset_ticks=0.5))
            fees = msgspec.structs.replace(config.fees, scenario="zero")
            changed = msgspec.structs.replace(config, venue=venue, strategy=strategy, fees=fees)
            episode = run_day(catalog, day, Plan(changed, "foic", None, None))
            marks = episode.markouts(10.0)
            lots = int(np.abs(episode.signed_lots).sum())
            found.setdefault(name, []).append(
                f"{ms:g} ms: {lots:,} lots, EPnL {episode.breakdown.net:.3f}, markout 10 s {np.nanmean(marks):+.2f} ticks"
            )
    for name, lines in found.items():
        print(f"  {name:<10}" + "; ".join(lines))


def _levels(events: Iterable[Event]) -> Iterator[Event]:
    """An order feed as a level feed."""
    from market.level_book import OrderBook

    orders, pending = OrderBook(), {}
    for event in events:
        if not isinstance(event, OrderUpdate):
            yield event
            continue
        for side, price, size, _ in orders.apply(event):
            pending[side, price] = size
        if event.last and pending:
            rows = [(side, price, size) for (side, price), size in pending.items()]
            yield BookUpdate(event.symbol, event.ts_event, event.ts_recv, rows)
            pending = {}


if __name__ == "__main__":
    main()

"""Columns of a day that was imported before there were any, from Nautilus' files."""

from __future__ import annotations

from pathlib import Path

from nautilus_trader.model import OrderBookDeltas, TradeTick

from market.errors import DataError
from market.nautilus import Decoder, Instrument, batches, owners
from venues.recordings.catalog import Catalog, Day
from venues.recordings.column_files import Batch, ColumnWriter


def write_columns(catalog: Catalog, part: Day, path: Path) -> None:
    """Write them, one catalog file in memory at a time.

    Raises
    ------
    DataError
        The files do not hold what the manifest says.

    """
    writer, written = ColumnWriter(path), 0
    decoder = Decoder(Instrument(catalog.contract(part)))
    for deltas, trades in catalog.chunks(part):
        events: list[OrderBookDeltas | TradeTick] = [*batches(deltas), *trades]
        batch = Batch()
        for event in sorted(events, key=lambda event: event.ts_init):
            if isinstance(event, TradeTick):
                batch.trade(*decoder.trade(event), event.ts_event, event.ts_init)
            else:
                levels, clear = decoder.levels(event)
                batch.book(levels, event.ts_event, event.ts_init, clear, owners(event) if part.orders else ())
        if events:
            writer.append(batch.columns(written + 1))
            written += len(events)
    if written != part.book_updates + part.trades:
        raise DataError(
            f"{part.instrument} {part.date}: the catalog {catalog.root} holds {written:,} events of it, the manifest "
            f"says {part.book_updates + part.trades:,}; import that day again with --again"
        )
    writer.finish(part.depth, part.orders)

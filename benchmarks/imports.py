"""Import rate by format, on the recordings under CMM_DATA; the simulator's where there are none."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.market import simulated_day
from market.contracts import ContractTable
from venues.recordings.catalog import Catalog
from venues.recordings.importer import import_recording
from venues.recordings.loaders import recordings

_PATTERNS = (
    "ctp/CFFEX.IF2101.20210108*",
    "binance/usdm_btcusdt_*",
    "bitstamp/*",
    "databento/esh4*",
    "coinbase/*",
    "sgx/*",
)


def main() -> None:
    """Print events, level changes and megabytes a second."""
    folder = Path(os.environ.get("CMM_DATA", "../shared/data"))
    print(f"{'recording':<38}{'events':>10}{'events/s':>12}{'levels/s':>12}{'MB/s':>8}")
    if not folder.is_dir():
        started = time.perf_counter()
        with simulated_day(1800.0) as (_, day):
            wall = time.perf_counter() - started
        events = day.book_updates + day.trades
        print(
            f"{'simulated (no recordings here)':<38}{events:>10,}{events / wall:>12,.0f}{day.levels / wall:>12,.0f}{'–':>8}"
        )
        return
    for pattern in _PATTERNS:
        files = sorted(folder.glob(pattern))
        for recording in recordings(files) if files else []:
            with tempfile.TemporaryDirectory() as target:
                catalog = Catalog(Path(target), ContractTable())
                started = time.perf_counter()
                done = import_recording(catalog, recording, lambda *_: None)
                wall = time.perf_counter() - started
            events = sum(day.book_updates + day.trades for day in done.days)
            levels = sum(day.levels for day in done.days)
            size = sum(path.stat().st_size for path in recording.files) / 1e6
            name = recording.name[:36]
            print(f"{name:<38}{events:>10,}{events / wall:>12,.0f}{levels / wall:>12,.0f}{size / wall:>8.2f}")


if __name__ == "__main__":
    main()

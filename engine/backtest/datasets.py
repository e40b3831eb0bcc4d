"""Datasets of days: features and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.backtest.dataset_recorder import record_day
from engine.config import Config
from engine.progress import SILENT, Progress, within_day
from engine.recordings.catalog import open_catalog, select_days
from venues.recordings.catalog import Catalog, Day


class Recorded(msgspec.Struct, frozen=True):
    """A day's dataset; `counts` (rows, broken_off, book_updates) is empty where it was there already."""

    path: Path
    counts: dict[str, int]
    day: Day


def record_instrument(
    config: Config, instrument: str, dates: str | None = None, progress: Progress = SILENT
) -> list[Recorded]:
    """Record the datasets of an instrument's days (`a,b` or `a..b`, all without dates)."""
    catalog = open_catalog(config)
    return record_days(catalog, select_days(catalog, instrument, dates), config, progress)


def record_days(catalog: Catalog, days: Sequence[Day], config: Config, progress: Progress = SILENT) -> list[Recorded]:
    """Record the datasets of days; those that are there already stay."""
    done = []
    with progress.share("recording") as update:
        for index, day in enumerate(days):
            path, counts = record_day(catalog, day, config, within_day(update, index, len(days)))
            done.append(Recorded(path, counts, day))
    return done

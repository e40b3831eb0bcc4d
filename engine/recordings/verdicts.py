"""Whether recorded days may be traded: what is not usable is refused, unless a person says otherwise."""

from __future__ import annotations

from engine.config import Config
from engine.recordings.catalog import open_catalog, select_days
from market.errors import DataError
from venues.recordings.quality import measure
from venues.recordings.verdict import judge


def refuse_unusable(config: Config, instrument: str, dates: str | None = None, *, anyway: bool = False) -> list[str]:
    """Judge the days of an instrument; return a note on each that needs care, or is not usable.

    Raises
    ------
    DataError
        A day is not usable, unless `anyway`.

    """
    catalog, notes = open_catalog(config), []
    for day in select_days(catalog, instrument, dates):
        verdict = judge(measure(catalog, day)[0], config.inspect)
        if verdict.verdict == "care":
            notes.append(f"{day.instrument} {day.date} needs care: {'; '.join(verdict.reasons)}")
        if verdict.verdict != "unusable":
            continue
        said = f"{day.instrument} {day.date} is not usable: {verdict.reasons[0]}"
        if not anyway:
            raise DataError(f"{said}; see cmm inspect, or give --anyway to trade it all the same")
        notes.append(f"WARNING: {said}")
    return notes

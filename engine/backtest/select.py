"""What a command works on: days of an instrument, the artifact that fits it, fitted intensities."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from engine.backtest.dataset_recorder import Progress, record_day
from engine.config import SHIPPED, Config, QuoterName, parse_dates
from models.ensemble import artifact
from models.errors import ModelError
from models.features import dataset
from strategies.intensity import fit_intensity
from venues.recordings.catalog import Catalog, Day

_FALLBACK = (1.0, 0.5)  # A in 1/s and k in 1/tick where nothing can be fitted
_REACH_COLUMNS = (3, 4)  # of a dataset's outcomes: reach below and above mid


def days(catalog: Catalog, name: str, dates: str | None, option: str = "--dates") -> list[Day]:
    """Days of an instrument: those named, or all.

    A list names days that must be there; a span takes those that are (weekends are not).
    """
    instrument = catalog.resolve(name)
    have = catalog.days(instrument)
    if dates is None:
        return list(have.values())
    wanted = parse_dates(dates, option)
    if isinstance(wanted, list):
        return [catalog.day(instrument, date) for date in wanted]
    found = [day for date, day in have.items() if wanted[0] <= date <= wanted[1]]
    if not found:
        catalog.day(instrument, wanted[0])  # says what there is
    return found


def choose_artifact(config: Config, instrument: str, first: dt.date) -> tuple[Path, str]:
    """The artifact to forecast with, and a sentence on why.

    Named in the configuration, else the newest under the runs folder that was trained on this
    instrument before `first`, else the one shipped.
    """
    if config.model.artifact is not None:
        return Path(config.model.artifact), "named by the configuration"
    fitted = []
    for path in sorted(Path(config.runs.path).glob(f"*/{artifact.MANIFEST}")):
        try:
            manifest = artifact.read(path.parent)
        except ModelError:
            continue
        last = max(manifest.seen, default="")
        if manifest.instruments == [instrument] and last < str(first):
            fitted.append((last, path.parent))
    if fitted:
        return max(fitted)[1], "the newest one fitted to this instrument on earlier days"
    return (
        SHIPPED,
        f"the shipped one, trained on a simulated market: {instrument} has no fitted artifact yet (cmm train)",
    )


def leaks(path: Path, chosen: Sequence[Day]) -> list[str]:
    """Backtest days that the artifact has seen (trained, chosen or calibrated on) or that lie before such a day."""
    manifest = artifact.read(path)
    if chosen[0].instrument not in manifest.instruments:
        return []
    last = max(manifest.seen, default="")
    return [str(day.date) for day in chosen if str(day.date) <= last]


def intensity(
    catalog: Catalog, instrument: str, first: dt.date, quoter: QuoterName, config: Config, progress: Progress | None
) -> tuple[tuple[float, float] | None, str]:
    """(A, k) for the optimal-control quoters, configured or fitted on the days before `first`."""
    if quoter not in ("as", "glft"):
        return None, ""
    given = config.strategy.intensity
    if given.a is not None and given.k is not None:
        return (given.a, given.k), "intensities as configured"
    earlier = [day for date, day in catalog.days(instrument).items() if date < first][-5:]
    try:
        if not earlier:
            raise ValueError(f"there is no day before {first}")
        paths = [record_day(catalog, day, config, progress)[0] for day in earlier]
        outcomes = dataset.load(paths).outcomes
        sides = [fit_intensity(outcomes[:, column]) for column in _REACH_COLUMNS]
    except (ValueError, ModelError) as error:
        a, k = _FALLBACK
        return _FALLBACK, f"WARNING: intensities are not fitted ({error}): A = {a:g}/s and k = {k:g}/tick are assumed"
    a, k = (sum(values) / 2 for values in zip(*sides, strict=True))
    span = f"{earlier[0].date}..{earlier[-1].date}"
    return (a, k), f"intensities fitted on {span}: A = {a:.3f}/s, k = {k:.3f}/tick"

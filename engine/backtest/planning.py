"""What a run needs besides its days: the artifact that fits, intensities, the queue model; and what flatters it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

from engine.artifacts import choose_artifact, leaks
from engine.assembly import quoter_kind
from engine.backtest.dataset_recorder import record_day
from engine.calibration import calibrate as calibration
from engine.config import Config, QuoterName
from engine.plan import Plan
from engine.progress import SILENT, Progress
from models.errors import ModelError
from models.features import dataset
from strategies.intensity import fit_intensity
from strategies.own_quoter import OwnQuoter
from venues.recordings.catalog import Catalog, Day

_FALLBACK = (1.0, 0.5)  # A in 1/s and k in 1/tick where nothing can be fitted
_REACH_COLUMNS = (3, 4)  # of a dataset's outcomes: reach below and above mid


def make_plan(
    config: Config, catalog: Catalog, chosen: list[Day], progress: Progress = SILENT
) -> tuple[Plan, list[str]]:
    """Resolve artifact, intensities and queue model; the notes say what was chosen and warn of what flatters."""
    quoter, first = config.strategy.quoter, chosen[0]
    kind = quoter_kind(quoter)
    path, notes = _forecaster(config, chosen) if kind.needs_forecast else (None, [])
    if isinstance(kind, OwnQuoter):
        notes.append(kind.note)
    with progress.share("fitting intensities") as update:
        fitted, why = fit_intensities(
            catalog, first.instrument, first.date, quoter, config, lambda date, share: update(str(date), share)
        )
    if why:
        notes.append(why)
    queue, why = calibration.resolve(catalog, first.instrument, first.date, config.venue.queue)
    notes.append(why)
    return Plan(config, quoter, path, fitted, queue, quoter_sha256=kind.sha256), notes


def _forecaster(config: Config, chosen: list[Day]) -> tuple[Path, list[str]]:
    path, why = choose_artifact(config, chosen[0].instrument, chosen[0].date)
    notes = [f"artifact {path}: {why}"]
    seen = leaks(path, chosen)
    if seen:
        notes.append(f"WARNING: the artifact was trained up to or after {', '.join(seen)}: in-sample, no evidence")
    again = config.model.recalibrate
    if again.enabled and again.state is not None:
        from models.ensemble.recalibrate import seen_until

        if seen_until(Path(again.state)) >= chosen[0].start_ns:
            notes.append(f"WARNING: {again.state} has learnt from these days or later ones: in-sample, no evidence")
    return path, notes


def fit_intensities(
    catalog: Catalog,
    instrument: str,
    first: dt.date,
    quoter: QuoterName,
    config: Config,
    progress: Callable[[dt.date, float], None] | None = None,
) -> tuple[tuple[float, float] | None, str]:
    """(A, k) for the optimal-control quoters, configured or fitted on the days before `first`, and how."""
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

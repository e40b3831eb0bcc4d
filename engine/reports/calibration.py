"""Queue models held against true queues: judged, kept for backtests, and shown on a page."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from engine.calibration import calibrate as calibration
from engine.calibration.calibrate import Calibration
from engine.calibration.days import recorded_days, simulated_days
from engine.calibration.hypothetical_orders import L3Day
from engine.config import Config
from engine.progress import SILENT, Progress
from engine.recordings.catalog import open_catalog
from engine.reports.calibration_page import write_page
from engine.runs import final_name, run_folder
from market.files import write_json
from venues.recordings.catalog import Catalog


class Calibrated(msgspec.Struct, frozen=True):
    """The fitted queue model with all models' scores, and the page."""

    found: Calibration
    page: Path


def calibrate_instrument(
    config: Config, instrument: str, dates: str | None = None, progress: Progress = SILENT
) -> Calibrated:
    """Fit and judge queue models on days that name orders; backtests of the instrument use what was found."""
    catalog = open_catalog(config)
    with run_folder(config, "calibrate", {"instrument": instrument, "dates": dates, "simulated": None}) as folder:
        days = recorded_days(catalog, instrument, dates, progress)
        found = _judge(config, days, folder, progress)
    calibration.save(calibration.path_of(catalog, found.instrument), found)
    return Calibrated(found, final_name(folder) / "report.html")


def calibrate_simulated(config: Config, minutes: float, progress: Progress = SILENT) -> Calibrated:
    """Fit and judge queue models on a simulated market; backtests do not use what was found."""
    contracts = open_catalog(config).contracts
    arguments = {"instrument": None, "dates": None, "simulated": minutes}
    with (
        run_folder(config, "calibrate", arguments) as folder,
        tempfile.TemporaryDirectory(prefix="cmm-queues-") as scratch,
    ):
        days = simulated_days(Catalog(Path(scratch), contracts), minutes, config.calibrate.seed, progress)
        found = _judge(config, days, folder, progress)
    return Calibrated(found, final_name(folder) / "report.html")


def _judge(config: Config, days: list[L3Day], folder: Path, progress: Progress) -> Calibration:
    name = days[0].day.instrument
    with progress.share("calibrating") as update:
        found, held = calibration.calibrate(days, name, config.calibrate, lambda share: update(name, share))
    write_json(folder / "calibration.json", found, indented=True)
    write_page(folder / "report.html", found, held, config.calibrate)
    return found

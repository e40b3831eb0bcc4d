"""A simulated market, the shipped ensemble beside two baselines, one report. No file from outside."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import msgspec

from engine.assembly import quoter_kind
from engine.backtest.backtest import Traded, run_days, run_grid
from engine.backtest.planning import fit_intensities
from engine.config import SHIPPED, Config, QuoterName, override
from engine.plan import Plan
from engine.progress import SILENT, Progress
from engine.recordings.catalog import open_catalog
from engine.recordings.simulation import simulate_day
from engine.reports.report import write_report
from engine.reports.summary import Summary, summarise
from engine.runs import final_name, run_folder
from market.files import write_json
from venues.recordings.catalog import Catalog, Day

BASELINES: tuple[QuoterName, ...] = ("liic", "glft")
_DAYS = (dt.date(2020, 2, 6), dt.date(2020, 2, 7))
_EARLIER_S = 600.0  # an earlier stretch of the market, on which the baselines fit their intensities


class Demo(msgspec.Struct, frozen=True):
    """Summaries by quoter, the market's size, and the page."""

    summaries: dict[str, Summary]
    book_updates: int
    page: Path


def run_demo(config: Config, minutes: float, seed: int, progress: Progress = SILENT) -> Demo:
    """Trade a simulated market with the shipped ensemble and the baselines; keep one report of all."""
    with tempfile.TemporaryDirectory(prefix="cmm-demo-") as scratch:
        local = override(config, {"data.path": scratch, "backtest.sensitivity": "quick"})
        catalog = open_catalog(local)
        simulate_day(catalog, seed + 1, _EARLIER_S, _DAYS[0], progress)
        day = simulate_day(catalog, seed, minutes * 60.0, _DAYS[1], progress)
        with run_folder(local, "demo", {"minutes": minutes, "seed": seed}) as folder:
            runs = [_trade(local, catalog, day, quoter, progress) for quoter in ("cmm", *BASELINES)]
            summaries: dict[str, Summary] = {traded.plan.quoter: summarise(traded) for traded in runs}
            main, *others = summaries.values()
            write_json(folder / "summary.json", {"runs": list(summaries.values())}, indented=True)
            named = [(traded.plan.quoter, traded.episodes) for traded in runs]
            write_report(folder / "report.html", main, named, runs[0].plan, others)
    return Demo(summaries, day.book_updates, final_name(folder) / "report.html")


def _trade(config: Config, catalog: Catalog, day: Day, quoter: QuoterName, progress: Progress) -> Traded:
    fitted, _ = fit_intensities(catalog, day.instrument, day.date, quoter, config)
    plan = Plan(config, quoter, SHIPPED if quoter_kind(quoter).needs_forecast else None, fitted)
    episodes, _ = run_days(catalog, [day], plan, progress)
    assumed = run_grid(catalog, [day], plan, episodes, progress) if quoter == "cmm" else None
    return Traded(day.instrument, plan, episodes, [], assumed)

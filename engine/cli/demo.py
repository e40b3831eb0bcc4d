"""`cmm demo`: a simulated market, the shipped ensemble beside two baselines, one report. No file from outside."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import msgspec

from engine.backtest import select
from engine.cli import console
from engine.cli.commands import comparison, open_catalog, run_days, run_grid, simulate_day
from engine.config import SHIPPED, Config, QuoterName
from engine.plan import Plan
from engine.reports.report import write_report
from engine.reports.summary import summarise
from engine.runs import final_name, run_folder, write_json

NO_RANKING = "The model was trained on this simulator, the baselines are not tuned for it: this is no ranking."
BASELINES: tuple[QuoterName, ...] = ("liic", "glft")
_DAYS = (dt.date(2020, 2, 6), dt.date(2020, 2, 7))
_EARLIER_S = 600.0  # an earlier stretch of the market, on which the baselines fit their intensities


def run_demo(config: Config, minutes: float, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cmm-demo-") as folder:
        quick = msgspec.structs.replace(config.backtest, sensitivity="quick")
        data = msgspec.structs.replace(config.data, path=folder)
        local = msgspec.structs.replace(config, data=data, backtest=quick)
        catalog = open_catalog(local)
        simulate_day(catalog, seed + 1, _EARLIER_S, _DAYS[0])
        day = simulate_day(catalog, seed, minutes * 60.0, _DAYS[1])
        results = []
        with run_folder(local, "demo", {"minutes": minutes, "seed": seed}) as run:
            for quoter in ("cmm", *BASELINES):
                fitted, _ = select.intensity(catalog, day.instrument, day.date, quoter, local, None)
                plan = Plan(local, quoter, SHIPPED if quoter == "cmm" else None, fitted)
                episodes = run_days(catalog, [day], plan)
                cells = run_grid(catalog, [day], plan, episodes) if quoter == "cmm" else []
                results.append((quoter, plan, episodes, summarise(day.instrument, plan, episodes, [], cells)))
            summaries = [summary for *_, summary in results]
            write_json(run / "summary.json", {"runs": summaries})
            write_report(
                run / "report.html", summaries[0], [(q, e) for q, _, e, _ in results], results[0][1], summaries[1:]
            )
    title = f"simulated market, {minutes:g} minutes, {day.book_updates:,} book updates"
    console.stdout.print(comparison(title, {q: s["total"] for q, _, _, s in results}))
    console.stdout.print(NO_RANKING)
    console.stdout.print(f"report {Path(final_name(run) / 'report.html').resolve()}", markup=False, soft_wrap=True)

"""Results on disk: summary, fills and report of what was traded, in the run's folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.backtest.backtest import Traded, backtest, prepare
from engine.backtest.episode import Episode
from engine.backtest.run_record import Fill
from engine.config import Config
from engine.progress import SILENT, Progress
from engine.recordings.verdicts import refuse_unusable
from engine.reports.report import write_report
from engine.reports.summary import Summary, summarise
from engine.runs import final_name, run_folder
from market.files import write_json

_OUT_OF_RANGE_SHARE = 0.05


class Kept(msgspec.Struct, frozen=True):
    """A run's summary, as `summary.json` has it, and its page."""

    summary: Summary
    page: Path


def run_backtest(
    config: Config, instrument: str, dates: str | None = None, progress: Progress = SILENT, *, anyway: bool = False
) -> Kept:
    """Trade recorded days and keep the results in a run folder.

    Raises
    ------
    DataError
        A recording is not usable (`cmm inspect` says why), unless `anyway`.

    """
    doubts = refuse_unusable(config, instrument, dates, anyway=anyway)
    task = prepare(config, instrument, dates, progress)
    for doubt in doubts:
        progress.note(doubt)
    task = msgspec.structs.replace(task, notes=[*task.notes, *doubts])
    with run_folder(config, "backtest", {"instrument": instrument, "dates": dates}) as folder:
        traded = backtest(task, progress)
        if traded.predictor is not None and traded.predictor.recalibrator is not None:
            traded.predictor.recalibrator.save(folder / "recalibration.npz")
        return write_results(folder, traded)


def write_results(folder: Path, traded: Traded) -> Kept:
    """Write summary, fills and report into a run folder that is still staged."""
    final = final_name(folder)
    traded = msgspec.structs.replace(traded, notes=[*traded.notes, *_doubts(traded.episodes)])
    summary = msgspec.structs.replace(summarise(traded), run=str(final))
    write_json(folder / "summary.json", summary, indented=True)
    _write_fills(folder / "fills.csv", traded.episodes)
    write_report(folder / "report.html", summary, [(traded.plan.quoter, traded.episodes)], traded.plan)
    return Kept(summary, final / "report.html")


def _doubts(episodes: Sequence[Episode]) -> list[str]:
    """What the run itself gives reason to doubt."""

    def count(name: str) -> int:
        return sum(e.counts.get(name, 0) for e in episodes)

    found = []
    if count("limit_bound") and not any(sum(e.recorder.actions) for e in episodes):
        found.append(f"WARNING: no order was placed, the limits refused all {count('limit_bound'):,}: see `limits`")
    if count("unclaimed_lots"):
        found.append(
            f"WARNING: {count('unclaimed_lots'):,} lots that the recorded market would have given us were not filled"
        )
    if count("range_checks") and count("out_of_range") > _OUT_OF_RANGE_SHARE * count("range_checks"):
        share = 100 * count("out_of_range") / count("range_checks")
        found.append(
            f"WARNING: in {share:.0f}% of the seconds some feature lay outside what the artifact was trained on"
        )
    return found


def _write_fills(path: Path, episodes: Sequence[Episode]) -> None:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["date", *Fill._fields])
        for e in episodes:
            writer.writerows([e.date, *fill] for fill in e.recorder.fills)

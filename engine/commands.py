"""What the commands do: import, record, backtest."""

from __future__ import annotations

import csv
import datetime as dt
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table

from engine import calibration, console, select
from engine.backtest import Plan, make_predictor, run_day
from engine.config import Config, ConfigError
from engine.episode import Episode
from engine.fees import SCENARIOS
from engine.metrics import SHOWN
from engine.recorder import record_day
from engine.runs import final_name, run_folder, write_json
from engine.sensitivity import LATENCIES, Cell, grid
from engine.summary import summarise
from engine.tape import Fill
from venues.catalog import Catalog, Day
from venues.contracts import ContractTable
from venues.errors import DataError, EmptyFileError
from venues.importer import Imported, import_events, import_recording
from venues.loaders import LOADERS, recordings
from venues.simulator import simulate

_SHOWN_DAYS = 40
_OUT_OF_RANGE_SHARE = 0.05
_SIMULATED = dt.date(2020, 3, 2)


def open_catalog(config: Config) -> Catalog:
    """The catalog of the configuration."""
    return Catalog(Path(config.data.path), ContractTable([Path(path) for path in config.data.contracts]))


def import_files(config: Config, files: list[Path], format_name: str | None, again: bool, as_json: bool) -> None:
    if format_name is not None and format_name not in LOADERS:
        raise ConfigError(f"--format {format_name}: unknown; known are {', '.join(LOADERS)}")
    catalog = open_catalog(config)
    empty: list[Path] = []
    found = recordings(files, format_name, empty)
    results: list[Imported] = []
    failure: DataError | None = None
    with catalog.lock(), console.bar("importing") as update:
        for index, recording in enumerate(found):
            share = index / len(found)
            try:
                results.append(import_recording(catalog, recording, _events_progress(update, share), again))
            except EmptyFileError:
                empty += recording.files
            except DataError as error:
                failure = error
                break
    for path in empty:
        click.echo(f"{path}: skipped, it holds no rows", err=True)
    if results:
        _show_imports(catalog, results, as_json)
    if failure is not None:
        raise failure
    if not results:
        raise EmptyFileError(f"{empty[0]}: the file is empty; nothing was imported")


def _events_progress(update: Callable[[str, float], None], share: float) -> Callable[[str, int], None]:
    return lambda name, count: update(f"{name} · {count:,} events", share)


def _show_imports(catalog: Catalog, results: list[Imported], as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(results) + b"\n")
        return
    days = [(result, day) for result in results for day in result.days]
    rows = [
        [
            day.instrument,
            day.date,
            day.book_updates,
            day.trades,
            day.crossed,
            _how(done, day),
        ]
        for done, day in days[:_SHOWN_DAYS]
    ]
    columns = ["instrument", "date", "book updates", "trades", "crossed", ""]
    console.stdout.print(console.table(f"catalog {catalog.root}", columns, rows))
    if len(days) > _SHOWN_DAYS:
        console.stdout.print(f"… and {len(days) - _SHOWN_DAYS} more days")
    for result in results:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(result.drops.items())) or "nothing"
        click.echo(f"{result.recording}: left out or changed: {reasons}")
        for note in dict.fromkeys(note for day in result.days for note in day.notes):
            click.echo(f"{result.recording}: {note}")


def _how(done: Imported, day: Day) -> str:
    """How a day stands after the import of one of its recordings."""
    if done.skipped:
        return "there already"
    return f"{len(day.parts)} parts" if day.parts else "new"


def record_datasets(config: Config, instrument: str, dates: str | None) -> None:
    catalog = open_catalog(config)
    rows, folder = [], catalog.root
    for path, counts, day in record(catalog, select.days(catalog, instrument, dates), config):
        note = (
            f"{counts.get('rows', 0):,} rows, {counts.get('broken_off', 0):,} broken off" if counts else "already there"
        )
        rows.append([day.instrument, day.date, note])
        folder = path.parent.parent
    console.stdout.print(console.table(f"datasets {folder}", ["instrument", "date", "samples"], rows))


def record(catalog: Catalog, chosen: list[Day], config: Config) -> list[tuple[Path, dict[str, int], Day]]:
    """Record the datasets of days: path, counts (empty where it was there already), day."""
    done = []
    with console.bar("recording") as update:
        for index, day in enumerate(chosen):
            path, counts = record_day(catalog, day, config, console.day_progress(update, index, len(chosen)))
            done.append((path, counts, day))
    return done


def simulate_day(catalog: Catalog, seed: int, seconds: float, date: dt.date) -> Day:
    """Simulate a market into the catalog."""
    start_ns = int(dt.datetime.combine(date, dt.time(9), dt.UTC).timestamp()) * 10**9
    name = f"simulated market, seed {seed}"
    with console.bar("simulating") as update:
        total = 30.0 * seconds  # events a second, about
        events = simulate(seed, seconds, start_ns)
        done = import_events(
            catalog, events, name, "simulator", [], Counter(), lambda _, n: update(f"{n:,} events", n / total)
        )
    return done.days[0]


def simulate_recording(config: Config, minutes: float, seed: int) -> None:
    """Simulate one day into the user's catalog, once: what is there already stays.

    Raises
    ------
    ConfigError
        The catalog has that day.

    """
    catalog = open_catalog(config)
    if _SIMULATED in catalog.days("QR.SIM"):
        raise ConfigError(
            f"{config.data.path}: there is a QR.SIM of {_SIMULATED} already; take another --set data.path=…"
        )
    day = simulate_day(catalog, seed, minutes * 60.0, _SIMULATED)
    console.stdout.print(
        f"{day.instrument} {day.date}: {day.book_updates:,} book updates, {minutes:g} minutes", markup=False
    )


def run_backtest(config: Config, instrument: str, dates: str | None, as_json: bool, anyway: bool = False) -> None:
    from engine.inspect import refuse_unusable

    catalog = open_catalog(config)
    chosen = select.days(catalog, instrument, dates)
    doubts = refuse_unusable(config, catalog, chosen, anyway)
    plan, notes = plan_backtest(config, catalog, chosen)
    notes = doubts + notes
    for note in notes:
        console.stderr.print(note, markup=False)
    with run_folder(config, "backtest", {"instrument": instrument, "dates": dates}) as folder:
        episodes = run_days(catalog, chosen, plan, folder / "recalibration.npz")
        cells = run_grid(catalog, chosen, plan, episodes)
        summary = finish(folder, chosen[0].instrument, plan, episodes, notes, cells)
    if as_json:
        click.echo(msgspec.json.encode(summary))
        return
    show_summary(summary)
    console.stdout.print(f"report {final_name(folder) / 'report.html'}", markup=False)


def plan_backtest(config: Config, catalog: Catalog, chosen: list[Day]) -> tuple[Plan, list[str]]:
    """Resolve artifact and intensities; the notes say what was chosen and warn of what flatters."""
    quoter, notes = config.strategy.quoter, []
    path = None
    if quoter == "cmm":
        path, why = select.choose_artifact(config, chosen[0].instrument, chosen[0].date)
        notes.append(f"artifact {path}: {why}")
        seen = select.leaks(path, chosen)
        if seen:
            notes.append(f"WARNING: the artifact was trained up to or after {', '.join(seen)}: in-sample, no evidence")
        again = config.model.recalibrate
        if again.enabled and again.state is not None:
            from models.recalibrate import seen_until

            if seen_until(Path(again.state)) >= chosen[0].start_ns:
                notes.append(f"WARNING: {again.state} has learnt from these days or later ones: in-sample, no evidence")
    with console.bar("fitting intensities") as update:
        fitted, why = select.intensity(
            catalog, chosen[0].instrument, chosen[0].date, quoter, config, lambda date, share: update(str(date), share)
        )
    if why:
        notes.append(why)
    queue, why = calibration.resolve(catalog, chosen[0].instrument, chosen[0].date, config.venue.queue)
    notes.append(why)
    return Plan(config, quoter, path, fitted, queue), notes


def run_days(catalog: Catalog, chosen: list[Day], plan: Plan, state: Path | None = None) -> list[Episode]:
    """Trade each day from flat and check that its PnL is explained.

    Where the fusion is recalibrated it goes on from day to day; its last state is saved at `state`.
    """
    episodes, predictor = [], make_predictor(plan)
    with console.bar(f"backtesting {plan.quoter}") as update:
        for index, day in enumerate(chosen):
            episode = run_day(catalog, day, plan, console.day_progress(update, index, len(chosen)), predictor)
            episode.check_identity()
            episodes.append(episode)
    if state is not None and predictor is not None and predictor.recalibrator is not None:
        predictor.recalibrator.save(state)
    return episodes


def run_grid(catalog: Catalog, chosen: list[Day], plan: Plan, episodes: list[Episode]) -> list[Cell]:
    """Trade the days under other assumptions, as `backtest.sensitivity` says."""
    if plan.config.backtest.sensitivity == "none":
        return []
    with console.bar("trading under other assumptions") as update:
        return grid(catalog, chosen, plan, episodes, lambda share: update("", share))


def finish(
    folder: Path,
    instrument: str,
    plan: Plan,
    episodes: list[Episode],
    notes: list[str],
    cells: list[Cell],
) -> dict[str, Any]:
    """Write summary, fills and report into a run folder."""
    from engine.report import write_report

    notes = [*notes, *_warnings(episodes)]
    summary = {**summarise(instrument, plan, episodes, notes, cells), "run": str(final_name(folder))}
    write_json(folder / "summary.json", summary)
    _write_fills(folder / "fills.csv", episodes)
    write_report(folder / "report.html", summary, [(plan.quoter, episodes)], plan)
    return summary


def _warnings(episodes: list[Episode]) -> list[str]:
    """What the run itself gives reason to doubt."""

    def count(name: str) -> int:
        return sum(e.counts.get(name, 0) for e in episodes)

    found = []
    if count("limit_bound") and not any(sum(e.tape.actions) for e in episodes):
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


def _write_fills(path: Path, episodes: list[Episode]) -> None:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["date", *Fill._fields])
        for e in episodes:
            writer.writerows([e.date, *fill] for fill in e.tape.fills)


def comparison(title: str, columns: dict[str, dict[str, Any]]) -> Table:
    """Metrics by row, days or quoters by column."""
    rows = [[label, *(numbers[name] for numbers in columns.values())] for name, label in SHOWN]
    return console.table(title, ["", *columns], rows)


def sensitivity_table(summary: dict[str, Any]) -> Table:
    """EPnL by queue model and latency (rows) and fees (columns)."""
    cells = summary["sensitivity"]["cells"]
    rows = [
        [f"{queue} queue, {latency} latency", *(_cell(cells, queue, latency, fees)["epnl"] for fees in SCENARIOS)]
        for queue in dict.fromkeys(c["queue"] for c in cells)
        for latency in LATENCIES
    ]
    return console.table(f"EPnL under other assumptions, {summary['currency']}", ["", *SCENARIOS], rows)


def _cell(cells: list[dict[str, Any]], queue: str, latency: str, fees: str) -> dict[str, Any]:
    return next(c for c in cells if (c["queue"], c["latency"], c["fees"]) == (queue, latency, fees))


def show_summary(summary: dict[str, Any]) -> None:
    """Print the table of a backtest."""
    columns = {e["date"]: e for e in summary["episodes"]} | {"total": summary["total"]}
    title = f"{summary['instrument']} · {summary['quoter']} · fees {summary['fee_scenario']} · {summary['currency']}"
    console.stdout.print(comparison(title, columns))
    for note in summary["notes"]:
        if note.startswith("WARNING"):
            console.stdout.print(note, markup=False)
    total = summary["total"]
    fees = ", ".join(f"{name} {console.number(result['epnl'])}" for name, result in total["by_fees"].items())
    how = "traded anew" if all(r["requoted"] for r in total["by_fees"].values()) else "same fills"
    if summary["sensitivity"] is not None:
        console.stdout.print(sensitivity_table(summary))
        console.stdout.print(summary["sensitivity"]["headline"], markup=False)
    console.stdout.print(f"EPnL by fee setting ({how}): {fees}", markup=False)
    work = f"{total['book_updates']:,} book updates, {total['order_actions']:,} order actions"
    console.stdout.print(f"{work}, {total['updates_per_s']:,} updates/s", markup=False)

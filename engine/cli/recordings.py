"""Commands on recordings: import, capture, inspect, events, record, simulate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import options
from engine.cli.options import configured

if TYPE_CHECKING:
    from engine.config import Config
    from engine.live.capture.capture import Captured
    from engine.recordings.events import BookShown, TradeShown
    from engine.recordings.importing import Imports, Trial
    from engine.reports.inspection import Inspection
    from venues.recordings.catalog import Day
    from venues.recordings.hftbacktest_export import Exported
    from venues.recordings.importer import Imported

_SHOWN_DAYS = 40


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_name", help="Format of the files, instead of finding it by content.")
@click.option(
    "--map",
    "mapping",
    type=click.Path(path_type=Path),
    metavar="YAML",
    help="What the columns of any CSV or Parquet mean (docs/recordings.md); the files are one recording.",
)
@click.option(
    "--instruments",
    "--instrument",
    "--symbols",
    "instruments",
    default="",
    metavar="A,B",
    help="What the files are of, where they do not say (hftbacktest); those to import of many (ITCH).",
)
@click.option("--try", "trial", is_flag=True, help="Show the first events as understood, and write nothing.")
@click.option("--again", is_flag=True, help="Import again what is there already (after a change of contract terms).")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest entries as JSON, of a trial the events.")
@configured
def import_(
    config: Config,
    files: tuple[Path, ...],
    format_name: str | None,
    mapping: Path | None,
    instruments: str,
    trial: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Import recordings into the catalog.

    CTP, Binance, Bybit, OKX, Tardis, Coinbase, Bitstamp, LOBSTER, Databento, ITCH, hftbacktest, SGX and Shanghai files,
    in zip or tar too, Nautilus' catalogs and segments of `cmm capture` are known by their content; any other CSV or
    Parquet by a mapping file.
    """
    from engine.cli import console
    from engine.recordings.importing import import_files, try_files

    named = [name.strip() for name in instruments.split(",") if name.strip()]
    if trial:
        _show_trials(try_files(config, list(files), format_name, mapping=mapping, instruments=named), as_json)
        return
    imports = import_files(
        config, list(files), format_name, mapping=mapping, instruments=named, again=again, progress=console.PROGRESS
    )
    for path in imports.empty:
        click.echo(f"{path}: skipped, it holds no rows", err=True)
    if imports.done:
        console.emit(imports.done, as_json, lambda: _show_imports(imports))
    if imports.failure is not None:
        raise imports.failure


def _show_imports(imports: Imports) -> None:
    from engine.cli import console

    days = [(done, day) for done in imports.done for day in done.days]
    rows: list[list[object]] = [
        [d.instrument, d.date, d.book_updates, d.trades, d.crossed, _how(done, d)] for done, d in days[:_SHOWN_DAYS]
    ]
    columns = ["instrument", "date", "book updates", "trades", "crossed", ""]
    console.show_table(f"catalog {imports.root}", columns, rows)
    if len(days) > _SHOWN_DAYS:
        console.say(f"… and {len(days) - _SHOWN_DAYS} more days")
    for done in imports.done:
        click.echo(_left_out(done.recording, done.drops))
        for note in dict.fromkeys(note for day in done.days for note in day.notes):
            click.echo(f"{done.recording}: {note}")


def _show_trials(trials: list[Trial], as_json: bool) -> None:
    from engine.cli import console

    for trial in trials:
        for instrument, shown in trial.events.items():
            if not as_json:
                click.echo(f"{instrument}, the first {len(shown)} events")
            for event in shown:
                console.emit(event, as_json, lambda: click.echo(_line(event)))  # noqa: B023 called at once
        click.echo(_left_out(trial.recording, trial.drops), err=as_json)


def _left_out(recording: str, drops: dict[str, int]) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(drops.items())) or "nothing"
    return f"{recording}: left out or changed: {reasons}"


def _how(done: Imported, day: Day) -> str:
    """How a day stands after the import of one of its recordings."""
    if done.skipped:
        return "there already"
    return f"{len(day.parts)} parts" if day.parts else "new"


@click.command()
@click.option("--venue", "venues", required=True, metavar="A,B", help="Venues with an adapter: bybit, binance, okx …")
@click.option(
    "--instruments", "instruments", required=True, metavar="A,B", help="E.g. BTCUSDT-LINEAR.BYBIT,BTCUSDT-PERP.BINANCE."
)
@click.option("--minutes", type=click.FloatRange(min=0), default=0.0, help="How long; 0: until stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@configured
def capture(config: Config, venues: str, instruments: str, minutes: float, as_json: bool) -> None:
    """Record venues' public data, book and trades, into files that a crash cannot spoil, and into the catalog."""
    from engine.cli import console
    from engine.live.capture.capture import capture as record_market
    from market.errors import DataError

    names = [part.strip() for part in instruments.split(",") if part.strip()]
    done = record_market(config, [part.strip() for part in venues.split(",")], names, minutes, console.PROGRESS)
    console.emit(done, as_json, lambda: _show_capture(done))
    if done.failure:
        raise DataError(done.failure)


def _show_capture(done: Captured) -> None:
    from engine.cli import console

    rows: list[list[object]] = [
        [i.instrument, i.updates, i.trades, f"{i.per_s:.1f}", i.gaps, i.lost] for i in done.instruments
    ]
    title = f"{done.folder}: {done.seconds:,.0f} s, {done.written / 1e6:,.2f} MB in {done.segments} segments"
    console.show_table(title, ["instrument", "book updates", "trades", "a second", "gaps", "lost"], rows)
    clocks = ", ".join(f"{venue} {ms:+.1f} ms" for venue, ms in done.offset_ms.items()) or "not known"
    click.echo(f"connections lost: {done.breaks}; the venues' clocks against ours: {clocks}")
    for part in done.imported:
        for day in part.days:
            click.echo(f"{day.instrument} {day.date}: {day.book_updates:,} book updates, {day.trades:,} trades")
        click.echo(_left_out(part.recording, part.drops))
        for note in dict.fromkeys(note for day in part.days for note in day.notes):
            click.echo(f"{part.recording}: {note}")


@click.command()
@click.argument("instrument")
@options.dates
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@configured
def inspect(config: Config, instrument: str, dates: str | None, as_json: bool) -> None:
    """Judge a recording: may it be traded, and why not; gaps, spread, update rate, depth, trades; with plots."""
    from engine.cli import console
    from engine.reports.inspection import inspect_instrument

    found = inspect_instrument(config, instrument, dates, console.PROGRESS)
    console.emit(found, as_json, lambda: _show_inspection(found))


def _show_inspection(found: Inspection) -> None:
    from engine.cli import console
    from engine.reports.inspection import measures, said

    rows = measures(found.days)
    drops = ["\n".join(f"{reason} {count:,}" for reason, count in day.drops.items()) or "–" for day in found.days]
    rows.append(["left out or changed", *drops])
    console.show_table(found.instrument, ["", *(day.date for day in found.days)], rows)
    for reason in found.reasons:
        console.say(reason)
    console.say(f"{found.instrument}: {said(found.verdict)}")
    console.say(f"plots {found.page}")


@click.command()
@click.argument("instrument")
@options.dates
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The last N events only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@configured
def events(config: Config, instrument: str, dates: str | None, last: int | None, as_json: bool) -> None:
    """Show a recording as it was understood: trades, and the best five levels after each update."""
    from engine.cli import console
    from engine.recordings.events import show_events

    for event in show_events(config, instrument, dates, last):
        console.emit(event, as_json, lambda: click.echo(_line(event)))  # noqa: B023 called at once


def _line(event: TradeShown | BookShown) -> str:
    if event.kind == "trade":
        return f"{event.ts} trade {event.lots} @ {event.price:g} {event.aggressor}"
    bids, asks = (" ".join(f"{p:.12g}:{size:.12g}" for p, size in side) for side in (event.bids, event.asks))
    return f"{event.ts} book {bids or '–'} | {asks or '–'}"


@click.command()
@click.argument("instrument")
@options.dates
@click.option("--format", "format_name", default="hftbacktest", show_default=True, help="Whose file to write.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A file for one day, or a folder [INSTRUMENT.DATE.npz, here]."
)
@options.as_json
@configured
def export(
    config: Config, instrument: str, dates: str | None, format_name: str, out: Path | None, as_json: bool
) -> None:
    """Write recorded days for another engine: hftbacktest."""
    from engine.cli import console
    from engine.recordings.exporting import export_days

    done = export_days(config, instrument, dates, format_name, out, console.PROGRESS)
    console.emit(done, as_json, lambda: _show_exports(done))


def _show_exports(done: list[Exported]) -> None:
    for one in done:
        click.echo(f"{one.path}: {one.day.instrument} {one.day.date}, {one.rows:,} events")
        if one.exchange_ahead_ns:
            seconds = one.exchange_ahead_ns / 1e9
            click.echo(f"{one.path}: the exchange's clock ran ahead: its times are set back by {seconds:.6f} s")


@click.command()
@options.instrument
@options.dates
@configured
def record(config: Config, instrument: str, dates: str | None) -> None:
    """Record training data: features, computed as when trading, and what happened after them."""
    from engine.backtest.datasets import record_instrument
    from engine.cli import console

    recorded = record_instrument(config, instrument, dates, console.PROGRESS)
    rows: list[list[object]] = []
    for done in recorded:
        n = done.counts
        text = f"{n.get('rows', 0):,} rows, {n.get('broken_off', 0):,} broken off" if n else "already there"
        rows.append([done.day.instrument, done.day.date, text])
    console.show_table(f"datasets {recorded[-1].path.parent.parent}", ["instrument", "date", "samples"], rows)


@click.command()
@click.option("--minutes", type=click.FloatRange(min=1), default=60.0, show_default=True)
@click.option("--seed", type=int, default=2026, show_default=True)
@configured
def simulate(config: Config, minutes: float, seed: int) -> None:
    """Add a day of a simulated market, QR.SIM, to the catalog, for those who have no recording."""
    from engine.cli import console
    from engine.recordings.simulation import simulate_recording

    day = simulate_recording(config, minutes, seed, console.PROGRESS)
    console.say(f"{day.instrument} {day.date}: {day.book_updates:,} book updates, {minutes:g} minutes")

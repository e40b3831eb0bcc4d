"""Commands around a live trader: live, halt, watchdog, monitor, replay-journal."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.groups import Flagged
from engine.cli.options import configured, overriding

if TYPE_CHECKING:
    from engine.config import Config
    from engine.live.records.contents import Contents
    from engine.live.records.journal import Verdict
    from engine.live.trading.checklist import Item
    from engine.live.trading.live_run import Report


@click.command()
@click.option("--instrument", required=True, help="E.g. BTCUSDT-LINEAR.BYBIT.")
@overriding("--venue", "live.venue", but="live trading is tested at bybit only so far")
@overriding("--base-url", "live.base_url", "Instead of live.base_url, e.g. of `cmm exchange`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@configured
def live(config: Config, instrument: str, as_json: bool) -> None:
    """Trade live. Exit codes: 2 not started, 3 halted until cleared, 4 stopped by a fault, 5 look at the venue now."""
    from engine.cli import console
    from engine.live.errors import Exit, HaltedError
    from engine.live.trading.live_run import run_live

    try:
        report = run_live(config, instrument, _show_checklist)
    except HaltedError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(Exit.HALTED)
    with suppress(OSError):  # the exit code must not depend on where we print to
        console.emit(report, as_json, lambda: _show_report(report))
    sys.exit(report.exit)


def _show_checklist(items: list[Item]) -> None:
    from engine.cli import console

    rows = [["ok" if item.holds else "NO", item.name, item.text] for item in items]
    console.show_table("go-live checklist", ["", "", ""], rows, error=True)


def _show_report(report: Report) -> None:
    from engine.cli import console

    resting = "UNKNOWN, look at the venue" if report.resting is None else report.resting
    rows: list[list[object]] = [
        ["reason", report.reason], ["orders resting", resting], ["position, lots", report.position],
        ["position at the venue", report.venue_position], ["fills in the store", report.fills],
        ["of them found at the end", report.recovered], ["money in and out", report.flow],
        ["commissions", report.commissions], ["verified after, s", report.cancel_s], ["journal", report.journal],
    ]  # fmt: skip
    console.show_table(f"live run, exit code {report.exit}", ["", ""], rows)


@click.group(cls=Flagged, flags={"--clear": "clear"}, subcommand_metavar="[clear]")
@click.option("--instrument", help="Whose orders to cancel.")
@click.option("--reason", default="", help="Why; kept with the halt.")
@click.option("--flatten", "close_position", is_flag=True, help="Close the position too (live.flatten.max_loss_bps).")
@overriding("--base-url", "live.base_url")
@configured
def halt(config: Config, instrument: str | None, reason: str, close_position: bool) -> None:
    """Stop a trader, running or dead: cancel all orders, verify, and prevent a new start.

    `cmm halt --clear` is `cmm halt clear`.
    """
    from engine.live.safety import halt as halting
    from market.errors import ConfigError

    if instrument is None:
        raise ConfigError("cmm halt: name the instrument whose orders are to be cancelled, --instrument …")
    done = halting.halt(config, instrument, reason or "no reason given", close_position)
    ran = "the trader was running" if done.was_running else "no trader was running"
    rests = "UNKNOWN whether orders still rest" if done.resting is None else f"{done.resting} orders rest"
    click.echo(f"halted: {ran}; {rests}; position {done.position} lots; cancelled in {done.cancel_s:.1f} s")
    sys.exit(done.exit)


@halt.command()
@click.option("--reason", default="", help="Why trading may start again; kept.")
@configured
def clear(config: Config, reason: str) -> None:
    """Let trading start again after a halt."""
    from engine.live.safety import halt as halting

    click.echo(halting.clear(config, reason))


@click.command()
@click.option("--instrument", required=True, help="E.g. BTCUSDT-LINEAR.BYBIT.")
@configured
def watchdog(config: Config, instrument: str) -> None:
    """Run the watchdog of a state folder's traders as a service (live.watchdog: service)."""
    import asyncio

    from engine.live.safety.watchdog import stand_by

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    click.echo(f"watching {Path(config.live.state).resolve()}")
    with suppress(KeyboardInterrupt):  # what is being watched then is the venue's dead man's switch to look after
        asyncio.run(stand_by(config, instrument))


@click.command()
@overriding("--port", "monitor.port", "Instead of monitor.port; 0 takes a free one.", metavar="INTEGER")
@overriding("--host", "monitor.host")
@configured
def monitor(config: Config) -> None:
    """Serve the page that shows traders, journals and finished runs, with a halt button; metrics for Prometheus."""
    import os

    from engine.monitor.server import TOKEN, serve

    serve(config, os.environ.get(TOKEN) or None, click.echo)


@click.command("replay-journal")
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Make each decision again and compare.")
@click.option("--artifact", type=click.Path(path_type=Path), help="Folder of the artifact, if it has moved.")
@click.option("--quoter", metavar="FILE.py:NAME", help="The quoter of your own, if it has moved.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay_journal(journal: Path, verify: bool, artifact: Path | None, quoter: str | None, as_json: bool) -> None:
    """Show what a journal contains, or verify it decision by decision."""
    from engine.cli import console
    from engine.live.records.contents import contents
    from engine.live.records.journal import verify as verify_journal

    if not verify:
        found = contents(journal)
        value = {"instrument": found.instrument, "counts": found.counts}
        console.emit(value, as_json, lambda: _show_contents(journal, found))
        return
    started = time.perf_counter()
    verdict = verify_journal(journal, artifact, quoter)
    took = time.perf_counter() - started
    console.emit(verdict, as_json, lambda: _show_verdict(journal, verdict, took))
    sys.exit(1 if verdict.differences else 0)


def _show_contents(path: Path, found: Contents) -> None:
    from engine.cli import console

    rows: list[list[object]] = [[name, count] for name, count in sorted(found.counts.items()) if count]
    console.show_table(f"{path}: {found.instrument}, {found.quoter}, {found.seconds:,.0f} s", ["", ""], rows)


def _show_verdict(path: Path, verdict: Verdict, took: float) -> None:
    torn = "; the last line is torn: the process died while it was written" if verdict.torn else ""
    click.echo(f"{path}: {verdict.decisions:,} decisions, {len(verdict.differences)} differ{torn} ({took:.1f} s)")
    for difference in verdict.differences[:10]:
        click.echo(f"line {difference.line}: {difference.what}")

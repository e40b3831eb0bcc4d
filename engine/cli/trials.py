"""Commands that try a trader without a cent: paper, the loopback exchange, the drill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import options
from engine.cli.groups import Flagged
from engine.cli.options import configured, overriding

if TYPE_CHECKING:
    from engine.config import Config


@click.group(
    cls=Flagged,
    flags={"--replay": "replay", "--venue": "venue"},
    without="cmm paper: give either --replay INSTRUMENT or --venue NAME",
)
def paper() -> None:
    """Trade on paper: a replayed recording, or a venue's public data.

    `cmm paper --replay INSTRUMENT` and `cmm paper --venue NAME` say the same as the commands below.
    """


@paper.command()
@click.argument("instrument")
@click.option("--dates", help="Recorded days: a,b or a..b [the last one].")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Times as fast as recorded; 0: as fast as possible.",
)
@options.as_json
@configured
def replay(config: Config, instrument: str, dates: str | None, speed: float, as_json: bool) -> None:
    """Replay recorded days of an instrument, offline."""
    from engine.cli import console, results
    from engine.live.trading.paper import paper_replay

    results.emit_kept(paper_replay(config, instrument, dates, speed, console.PROGRESS), as_json)


@paper.command()
@click.argument("venue")
@click.option("--instrument", help="E.g. BTCUSDT-LINEAR.BYBIT.")
@click.option("--base-url", help="Instead of the venue's own address.")
@overriding("--minutes", "paper.minutes", "How long [paper.minutes].")
@options.as_json
@configured
def venue(config: Config, venue: str, instrument: str | None, base_url: str | None, as_json: bool) -> None:
    """Trade on live public data of a venue: binance, bybit, okx, hyperliquid, kraken, deribit."""
    from engine.cli import console, results
    from engine.live.trading.paper import paper_public
    from market.errors import ConfigError

    if instrument is None:
        raise ConfigError("cmm paper --venue: name the instrument, e.g. --instrument BTCUSDT-LINEAR.BYBIT")
    results.emit_kept(paper_public(config, venue, instrument, base_url, console.PROGRESS), as_json)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one.")
@click.option("--seed", type=int, default=2026, show_default=True, help="Seed of the simulated market.")
@click.option("--replay", metavar="INSTRUMENT", help="Use a recording instead of the simulated market.")
@click.option("--dates", help="Recorded days [the last one].")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--cash", type=click.FloatRange(min=0), default=100_000.0, show_default=True)
@configured
def exchange(
    config: Config, port: int, seed: int, replay: str | None, dates: str | None, speed: float, cash: float
) -> None:
    """Run an exchange on this machine that speaks Bybit's v5 protocol, and print its keys."""
    from engine.drill.exchange import Opened, recorded_market, serve_exchange, simulated_market

    def opened(at: Opened) -> None:
        click.echo(f"export CMM_BYBIT_KEY={at.key} CMM_BYBIT_SECRET={at.secret}")
        click.echo(f"{at.symbol} at {at.url}")

    events = simulated_market(seed) if replay is None else recorded_market(config, replay, dates)
    try:
        serve_exchange(events, config, cash, opened, port=port, speed=speed)
        click.echo("the recording has ended")
    except KeyboardInterrupt:
        click.echo("closed")


@click.command()
@click.option("--faults", help="Faults to try: a,b [all].")
@click.option("--tries", type=click.IntRange(min=1), default=3, show_default=True, help="Tries of each fault.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Tries at the same time.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for logs, stores and journals of each try.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@configured
def drill(
    config: Config,
    faults: str | None,
    tries: int,
    jobs: int,
    seed: int,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Cause one fault after another at a loopback exchange, and check that the trader ends safe each time."""
    from engine.cli import console
    from engine.drill.campaign import run_campaign

    names = None if faults is None else [name.strip() for name in faults.split(",")]
    done = run_campaign(config, names, keep, console.PROGRESS, tries=tries, jobs=jobs, seed=seed)
    rows = [[s.fault, s.tries, s.survived, s.worst_s] for s in done.faults]
    columns = ["fault", "tries", "survived", "worst time to safe, s"]
    console.emit(done, as_json, lambda: console.show_table("drill", columns, rows))
    sys.exit(0 if done.survived else 1)

"""The command `cmm`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import msgspec

from engine import config as configuration
from engine.config import Config, ConfigError
from models.errors import ModelError
from venues.errors import DataError

USER_ERRORS = (ConfigError, DataError, ModelError)


class _Commands(click.Group):
    """Says a user's error in one sentence, with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except USER_ERRORS as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """Add --config and --set; hand the decoded configuration on as the first argument."""

    @click.option("--config", "config_path", type=click.Path(path_type=Path), help="Configuration [config.yaml].")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key, e.g. limits.max_position_lots=5.",
    )
    @wraps(command)
    def wrapper(config_path: Path | None, overrides: tuple[str, ...], **arguments: Any) -> None:
        command(configuration.load(config_path, overrides), **arguments)

    return wrapper


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cmm")
def main() -> None:
    """Cooperative market making: import recordings, train, backtest."""


@main.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_name", help="Format of the files, instead of finding it by content.")
@click.option("--again", is_flag=True, help="Import anew what is there already (after a change of contract terms).")
@click.option("--json", "as_json", is_flag=True, help="Print the ledger entries as JSON.")
@configured
def import_(config: Config, files: tuple[Path, ...], format_name: str | None, again: bool, as_json: bool) -> None:
    """Import recordings into the catalog."""
    from engine.commands import import_files

    import_files(config, list(files), format_name, again, as_json)


@main.command()
@click.argument("instrument")
@click.option("--dates", help="Days: a,b or a..b [all].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@configured
def inspect(config: Config, instrument: str, dates: str | None, as_json: bool) -> None:
    """Show what a recording is worth, with a verdict: gaps, spread, rates, depth, trades; and plots."""
    from engine.inspect import inspect_instrument

    inspect_instrument(config, instrument, dates, as_json)


@main.command()
@click.argument("instrument")
@click.option("--dates", help="Days: a,b or a..b [all].")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The last N events only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def events(config: Config, instrument: str, dates: str | None, last: int | None, as_json: bool) -> None:
    """Show a recording as it was understood: trades, and the best five levels after each update."""
    from engine.events import show_events

    show_events(config, instrument, dates, last, as_json)


@main.command()
@click.option("--instrument", required=True)
@click.option("--dates", help="Days: a,b or a..b [all].")
@configured
def record(config: Config, instrument: str, dates: str | None) -> None:
    """Record datasets (features and outcomes) through the engine's own callbacks."""
    from engine.commands import record_datasets

    record_datasets(config, instrument, dates)


@main.command()
@click.option(
    "--teacher",
    metavar="MODEL",
    help="smollm2, a folder, a GGUF file or a name on the hub; or a control: labels, one-student, kd, fitnets, "
    "random, no-body.  [train.teacher.model]",
)
@click.option("--instrument", "instruments", multiple=True, help="Instrument to train on; several are allowed.")
@click.option("--train", "train_dates", help="Days that teach: a,b or a..b.")
@click.option("--valid", "valid_dates", help="Later days that choose epochs and judge the probe [cut off --train].")
@click.option("--calibrate", "calibrate_dates", help="Later days that fit the fusion [cut off --train].")
@click.option("--test", "test_dates", help="Later days, looked at once, for the model card.")
@click.option("--folds", type=click.IntRange(min=1), default=1, help="Walk forward over --train; the last fold ships.")
@click.option("--groups", type=click.Choice(["thirds", "probe"]), help="Instead of train.probe.groups.")
@click.option("--quick", is_flag=True, help="The whole chain on the simulated market, with few windows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the artifact.")
@configured
def train(
    config: Config,
    teacher: str | None,
    instruments: tuple[str, ...],
    train_dates: str | None,
    valid_dates: str | None,
    calibrate_dates: str | None,
    test_dates: str | None,
    folds: int,
    groups: str | None,
    quick: bool,
    as_json: bool,
    out: Path,
) -> None:
    """Distil a language model into an ensemble and write it as an artifact.

    A killed training goes on where it was when the same command is given again.
    """
    from engine.training import Request, train_artifact

    dates = {"train": train_dates, "valid": valid_dates, "calibrate": calibrate_dates, "test": test_dates}
    names = [name for text in instruments for name in text.split(",")]
    train_artifact(config, Request(teacher, names, dates, folds, groups, quick, out), as_json)


@main.command()
@click.argument("folder", metavar="ARTIFACT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def probe(folder: Path, as_json: bool) -> None:
    """Show what the layers of an artifact's teacher know; writes probe.html and probe.png into it."""
    from engine.probe_page import show_probe

    show_probe(folder, as_json)


@main.command()
@click.option("--instrument", help="An instrument whose recordings name orders (L3).")
@click.option("--dates", help="Days: a,b or a..b [all].")
@click.option("--simulated", type=click.FloatRange(min=5), metavar="MINUTES", help="Use a simulated market instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@configured
def calibrate(
    config: Config, instrument: str | None, dates: str | None, simulated: float | None, as_json: bool
) -> None:
    """Hold queue models against true queues; fit the one that backtests use."""
    from engine.calibration_page import run_calibrate

    run_calibrate(config, instrument, dates, simulated, as_json)


@main.group()
def models() -> None:
    """Artifacts: list, show, verify, compare; shadow, promote, rollback in a running trader."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@configured
def models_list(config: Config, as_json: bool) -> None:
    """List the artifacts under the runs folder, and the shipped one."""
    from engine.registry import list_models

    list_models(config, as_json)


@models.command("show")
@click.argument("folder", metavar="ARTIFACT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print splits and all metrics as JSON.")
def models_show(folder: Path, as_json: bool) -> None:
    """Print the model card."""
    from engine.registry import show_model

    show_model(folder, as_json)


@models.command("verify")
@click.argument("folder", metavar="ARTIFACT", type=click.Path(path_type=Path))
def models_verify(folder: Path) -> None:
    """Check hashes, feature spec, golden output and that the graph answers."""
    from engine.registry import verify_model

    verify_model(folder)


def placed[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    """Options that name a trader."""
    folder = click.Path(path_type=Path, file_okay=False)
    command = click.option("--paper", is_flag=True, help="The paper run that goes on.")(command)
    return click.option("--state", type=folder, help="Folder of the trader [live.state].")(command)


@models.command("shadow")
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option("--drop", is_flag=True, help="End the shadow.")
@click.option("--reason", default="", help="Kept in the line-up's history.")
@placed
@click.option("--json", "as_json", is_flag=True)
@configured
def models_shadow(
    config: Config, artifact: Path | None, drop: bool, reason: str, state: Path | None, paper: bool, as_json: bool
) -> None:
    """Let ARTIFACT forecast beside the one that trades, without orders; alone: show how they compare."""
    from engine.live import model_commands

    folder = model_commands.folder_of(config, state, paper)
    if artifact is None and not drop:
        model_commands.show(folder, as_json)
        return
    if artifact is not None and drop:
        raise ConfigError("cmm models shadow: name an artifact, or --drop, not both")
    model_commands.change(folder, "drop" if drop else "shadow", artifact, False, reason, as_json)


@models.command("promote")
@click.option("--anyway", is_flag=True, help="Whatever the comparison says.")
@click.option("--reason", default="", help="Kept in the line-up's history.")
@placed
@click.option("--json", "as_json", is_flag=True)
@configured
def models_promote(config: Config, anyway: bool, reason: str, state: Path | None, paper: bool, as_json: bool) -> None:
    """Let the artifact in the shadow trade, from the next update on; the other one runs in its shadow."""
    from engine.live import model_commands

    folder = model_commands.folder_of(config, state, paper)
    model_commands.change(folder, "promote", None, anyway, reason, as_json)


@models.command("rollback")
@click.option("--reason", default="", help="Kept in the line-up's history.")
@placed
@click.option("--json", "as_json", is_flag=True)
@configured
def models_rollback(config: Config, reason: str, state: Path | None, paper: bool, as_json: bool) -> None:
    """Let the artifact trade again that the last promotion replaced."""
    from engine.live import model_commands

    folder = model_commands.folder_of(config, state, paper)
    model_commands.change(folder, "rollback", None, True, reason, as_json)


@models.command("diff")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models_diff(one: Path, other: Path, as_json: bool) -> None:
    """Compare two artifacts: settings, data, metrics and forecasts."""
    from engine.registry import diff_models

    diff_models(one, other, as_json)


@main.command()
@click.option("--instrument", required=True)
@click.option("--dates", help="Days: a,b or a..b [all].")
@click.option("--artifact", type=click.Path(path_type=Path), help="Artifact to forecast with.")
@click.option(
    "--quoter", type=click.Choice(["cmm", "foic", "liic", "ltiic", "as", "glft"]), help="Instead of strategy.quoter."
)
@click.option("--fees", type=click.Choice(["exchange", "zero", "rebate"]), help="Instead of fees.scenario.")
@click.option("--anyway", is_flag=True, help="Whatever `cmm inspect` says of the recording.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@configured
def backtest(
    config: Config,
    instrument: str,
    dates: str | None,
    artifact: Path | None,
    quoter: str | None,
    fees: str | None,
    anyway: bool,
    as_json: bool,
) -> None:
    """Trade recorded days and report."""
    from engine.commands import run_backtest

    changes: dict[str, Any] = {}
    if artifact is not None:
        changes["model"] = msgspec.structs.replace(config.model, artifact=str(artifact))
    if quoter is not None:
        changes["strategy"] = msgspec.structs.replace(config.strategy, quoter=quoter)
    if fees is not None:
        changes["fees"] = msgspec.structs.replace(config.fees, scenario=fees)
    run_backtest(msgspec.structs.replace(config, **changes), instrument, dates, as_json, anyway)


@main.command()
@click.option(
    "--minutes", type=click.FloatRange(min=5), default=30.0, show_default=True, help="Length of the simulated market."
)
@click.option("--seed", type=int, default=2026, show_default=True)
@configured
def demo(config: Config, minutes: float, seed: int) -> None:
    """Simulate a market, backtest the shipped ensemble beside two baselines, write a report."""
    from engine.demo import run_demo

    run_demo(config, minutes, seed)


@main.command()
@click.option("--minutes", type=click.FloatRange(min=1), default=60.0, show_default=True)
@click.option("--seed", type=int, default=2026, show_default=True)
@configured
def simulate(config: Config, minutes: float, seed: int) -> None:
    """Put a day of a simulated market, QR.SIM, into the catalog: something to replay without a recording."""
    from engine.commands import simulate_recording

    simulate_recording(config, minutes, seed)


@main.command()
@click.option("--replay", "replay", metavar="INSTRUMENT", help="Replay recorded days of this instrument, offline.")
@click.option("--dates", help="Recorded days: a,b or a..b [the last one].")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Times as fast as recorded; 0: as fast as it goes.",
)
@click.option("--venue", help="Trade on live public data: binance, bybit, okx, hyperliquid, kraken, deribit.")
@click.option("--instrument", help="With --venue, e.g. BTCUSDT-LINEAR.BYBIT.")
@click.option("--base-url", help="With --venue: instead of the venue's own address.")
@click.option("--minutes", type=click.FloatRange(min=0), help="With --venue: how long [paper.minutes].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@configured
def paper(
    config: Config,
    replay: str | None,
    dates: str | None,
    speed: float,
    venue: str | None,
    instrument: str | None,
    base_url: str | None,
    minutes: float | None,
    as_json: bool,
) -> None:
    """Trade on paper: a replayed recording, or a venue's public data."""
    from engine.live import commands

    if (replay is None) == (venue is None):
        raise ConfigError("cmm paper: give either --replay INSTRUMENT or --venue NAME")
    if replay is not None:
        commands.paper_replay(config, replay, dates, speed, as_json)
    else:
        assert venue is not None
        commands.paper_public(config, venue, instrument, base_url, minutes, as_json)


@main.command()
@click.option("--instrument", required=True, help="E.g. BTCUSDT-LINEAR.BYBIT.")
@click.option("--venue", help="Instead of live.venue.")
@click.option("--base-url", help="Instead of live.base_url, e.g. of `cmm exchange`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@configured
def live(config: Config, instrument: str, venue: str | None, base_url: str | None, as_json: bool) -> None:
    """Trade live. Exit codes: 2 refused, 3 halted until cleared, 4 stopped by a fault, 5 look at the venue now."""
    from engine.live import commands

    sys.exit(commands.live(commands.at(config, venue, base_url), instrument, as_json))


@main.command()
@click.option("--instrument", required=True, help="E.g. BTCUSDT-LINEAR.BYBIT.")
@configured
def watchdog(config: Config, instrument: str) -> None:
    """Watch the traders of a state folder as a service of its own (live.watchdog: service)."""
    from engine.live import commands

    commands.watchdog(config, instrument)


@main.command()
@click.option("--instrument", help="Whose orders to cancel; not needed with --clear.")
@click.option("--reason", default="", help="Why; kept with the latch.")
@click.option("--clear", is_flag=True, help="Let trading start again after a halt.")
@click.option("--flatten", "close_position", is_flag=True, help="Close the position too (live.flatten.max_loss_bps).")
@click.option("--base-url", help="Instead of live.base_url.")
@configured
def halt(
    config: Config, instrument: str | None, reason: str, clear: bool, close_position: bool, base_url: str | None
) -> None:
    """Stop a trader, running or dead: cancel everything, verify, and forbid a new start."""
    from engine.live import commands

    sys.exit(commands.halt(commands.at(config, None, base_url), instrument, reason, clear, close_position))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one.")
@click.option("--seed", type=int, default=2026, show_default=True, help="Of the simulated market.")
@click.option("--replay", metavar="INSTRUMENT", help="Feed it a recording instead.")
@click.option("--dates", help="Recorded days [the last one].")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--cash", type=click.FloatRange(min=0), default=100_000.0, show_default=True)
@configured
def exchange(
    config: Config, port: int, seed: int, replay: str | None, dates: str | None, speed: float, cash: float
) -> None:
    """Run a loopback exchange that speaks Bybit's v5 protocol; its keys are printed."""
    from engine.live import commands

    commands.exchange(config, port, seed, replay, dates, speed, cash)


@main.command()
@click.option("--faults", help="Some of them: a,b [all].")
@click.option("--tries", type=click.IntRange(min=1), default=3, show_default=True, help="Of each fault.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="At once.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for logs, stores and journals of each try.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@configured
def drill(
    config: Config, faults: str | None, tries: int, jobs: int, seed: int, keep: Path | None, as_json: bool
) -> None:
    """Let everything go wrong at a loopback exchange, and see whether the trader ends safe each time."""
    from engine.live import commands

    sys.exit(commands.drill(config, faults, tries, jobs, seed, keep, as_json))


@main.command("replay-journal")
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Decide each decision again and compare.")
@click.option("--artifact", type=click.Path(path_type=Path), help="Where the artifact lies now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay_journal(journal: Path, verify: bool, artifact: Path | None, as_json: bool) -> None:
    """Show what a journal holds, or prove it decision by decision."""
    from engine.live import commands

    sys.exit(commands.replay_journal(journal, verify, artifact, as_json))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of monitor.port; 0 takes a free one.")
@click.option("--host", help="Instead of monitor.host.")
@configured
def monitor(config: Config, port: int | None, host: str | None) -> None:
    """Serve the page that shows traders, journals and finished runs, with a halt button; metrics for Prometheus."""
    import os

    from engine.monitor.server import TOKEN, serve

    changes: dict[str, Any] = {}
    if port is not None:
        changes["port"] = port
    if host is not None:
        changes["host"] = host
    changed = msgspec.structs.replace(config, monitor=msgspec.structs.replace(config.monitor, **changes))
    serve(changed, os.environ.get(TOKEN) or None, click.echo)


if __name__ == "__main__":
    sys.exit(main())

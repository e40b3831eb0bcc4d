"""Commands of the group `models` that change what a trader forecasts with: shadow, promote, rollback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import configured

if TYPE_CHECKING:
    from engine.config import Config
    from engine.live.deployment.changes import Changed, Standing
    from engine.live.deployment.deployment import Trial


def _placed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name a trader, --reason aside."""
    folder = click.Path(path_type=Path, file_okay=False)
    command = click.option("--json", "as_json", is_flag=True)(command)
    command = click.option("--paper", is_flag=True, help="The running paper trader.")(command)
    return click.option("--state", type=folder, help="Folder of the trader [live.state].")(command)


_reason = click.option("--reason", default="", help="Kept in the history of changes.")


@click.command("shadow")
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option("--drop", is_flag=True, help="End the shadow.")
@_reason
@_placed
@configured
def shadow(
    config: Config, artifact: Path | None, drop: bool, reason: str, state: Path | None, paper: bool, as_json: bool
) -> None:
    """Let ARTIFACT forecast beside the one that trades, without orders; without ARTIFACT, compare the two."""
    from engine.cli import console
    from engine.live.deployment.changes import change, standing, trader_folder
    from market.errors import ConfigError

    folder = trader_folder(config, state, paper=paper)
    if artifact is not None and drop:
        raise ConfigError("cmm models shadow: name an artifact, or --drop, not both")
    if artifact is not None or drop:
        _emit_change(change(folder, "drop" if drop else "shadow", artifact, reason), as_json)
        return
    found = standing(folder)
    verdict = {"verdict": found.trial.verdict} if found.trial is not None else {}
    value = {"deployment": found.deployment, "running": found.running, "trial": found.trial, **verdict}
    console.emit(value, as_json, lambda: _show(found))


@click.command("promote")
@click.option("--anyway", is_flag=True, help="Even if the comparison is against it.")
@_reason
@_placed
@configured
def promote(config: Config, anyway: bool, reason: str, state: Path | None, paper: bool, as_json: bool) -> None:
    """Let the artifact in the shadow trade from the next update on; the old one becomes the shadow."""
    from engine.live.deployment.changes import change, trader_folder

    folder = trader_folder(config, state, paper=paper)
    _emit_change(change(folder, "promote", None, reason, anyway=anyway), as_json)


@click.command("rollback")
@_reason
@_placed
@configured
def rollback(config: Config, reason: str, state: Path | None, paper: bool, as_json: bool) -> None:
    """Let the artifact that the last promotion replaced trade again."""
    from engine.live.deployment.changes import change, trader_folder

    folder = trader_folder(config, state, paper=paper)
    _emit_change(change(folder, "rollback", None, reason, anyway=True), as_json)


def _emit_change(changed: Changed, as_json: bool) -> None:
    from engine.cli import console

    value = {"done": True, "text": changed.text, "deployment": changed.deployment}
    console.emit(value, as_json, lambda: click.echo(changed.text))


def _show(found: Standing) -> None:
    deployment = found.deployment
    click.echo(
        f"trades: {deployment.trading.hash}, {deployment.trading.path}{'' if found.running else ' (no trader runs)'}"
    )
    if deployment.previous is not None:
        click.echo(
            f"before: {deployment.previous.hash}, {deployment.previous.path} (`cmm models rollback` goes back to it)"
        )
    if deployment.shadow is None:
        click.echo("shadow: none")
        return
    click.echo(f"shadow: {deployment.shadow.hash}, {deployment.shadow.path}")
    if found.trial is None:
        click.echo("no comparison is known yet")
    else:
        _show_trial(found.trial)


def _show_trial(trial: Trial) -> None:
    from engine.cli import console

    def row(name: str, values: tuple[float | None, ...]) -> list[object]:
        return [name, *(f"{value:.4f}" if value is not None else "–" for value in values)]

    mid, spread = trial.mid, trial.spread
    rows = [
        row("mid change: error, ticks", (mid.rmse, mid.rmse_other, mid.z)),
        row("mid change: correlation", (mid.correlation, mid.correlation_other, None)),
        row("mean spread: error, ticks", (spread.rmse, spread.rmse_other, spread.z)),
    ]
    hours = max(trial.until_ns - trial.since_ns, 0) / 3.6e12
    title = f"{mid.outcomes} outcomes in {hours:.2f} h, {trial.forecasts} forecasts, {trial.failed} not finite"
    columns = ["", "shadow", "trading", "difference of squares, standard errors"]
    console.show_table(title, columns, rows)
    click.echo(f"shadow against trading: {trial.verdict}")

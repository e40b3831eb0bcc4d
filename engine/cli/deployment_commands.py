"""`cmm models shadow|promote|rollback`: change what a trader forecasts with, while it trades."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from engine.cli import console
from engine.config import Config
from engine.live.deployment import deployment as lineups
from engine.live.deployment.deployment import Act, Lineup, Request, Trial
from engine.live.safety.state import StateFolder
from market.errors import ConfigError

_ANSWER_S = 30.0


def folder_of(config: Config, state: Path | None, paper: bool) -> Path:
    """The folder of the trader that is meant: named, of the paper run that goes on, or `live.state`.

    Raises
    ------
    ConfigError
        No paper run goes on, or several do.

    """
    if state is not None:
        return state
    if not paper:
        return Path(config.live.state)
    found = []
    for path in sorted(Path(config.runs.path).glob(f".*-paper-*/{lineups.LINEUP}")):
        lineup = lineups.read_lineup(path.parent)
        if lineup is not None and lineups.runs(lineup):
            found.append(path.parent)
    if not found:
        raise ConfigError(f"{config.runs.path}: no paper run that forecasts and keeps a journal goes on there")
    if len(found) > 1:
        raise ConfigError(f"several paper runs go on, name one with --state: {', '.join(map(str, found))}")
    return found[0]


def change(folder: Path, action: Act, named: Path | None, anyway: bool, because: str, as_json: bool) -> None:
    """Ask the trader of a folder for a change and say what became of it; while none runs, for its next start.

    Raises
    ------
    ConfigError
        It was refused, or the trader does not answer.

    """
    lineup = _lineup(folder)
    shadow = lineups.member(named) if named is not None else None
    request = Request(secrets.token_hex(8), action, shadow, anyway, because)
    text = _ask(folder, lineup, request) if lineups.runs(lineup) else _at_rest(folder, request)
    if as_json:
        click.echo(msgspec.json.encode({"done": True, "text": text, "lineup": _lineup(folder)}))
    else:
        click.echo(text)


def _lineup(folder: Path) -> Lineup:
    found = lineups.read_lineup(folder)
    if found is None:
        raise ConfigError(f"{folder}: no trader that forecasts has run there; start it first, or name its --state")
    return found


def _ask(folder: Path, lineup: Lineup, request: Request) -> str:
    lineups.ask(folder, request)
    deadline = time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        answer = lineups.answered(folder, request.id)
        if answer is not None:
            if not answer.done:
                raise ConfigError(answer.text)
            return answer.text
        if not lineups.runs(lineup):
            break
        time.sleep(0.05)
    lineups.withdraw(folder, request)
    raise ConfigError(
        f"{folder}: the trader (process {lineup.pid}) did not answer; see `cmm models shadow` for what holds now"
    )


def _at_rest(folder: Path, request: Request) -> str:
    if not (folder / "store.sqlite").exists():
        raise ConfigError(f"{folder}: the paper run there has ended")
    state = StateFolder(folder)
    state.take()
    try:
        lineup = lineups.changed(_lineup(folder), request, lineups.last_trial(folder))
        lineups.write_lineup(folder, lineup)
    finally:
        state.release()
    beside = f"{lineup.shadow.hash} runs" if lineup.shadow is not None else "nothing runs"
    return f"no trader runs: at its next start {lineup.trading.hash} trades, and {beside} in its shadow"


def show(folder: Path, as_json: bool) -> None:
    """What trades, what runs in the shadow, and how they compare."""
    lineup = _lineup(folder)
    trial = lineups.last_trial(folder) if lineup.shadow is not None else None
    if trial is not None and lineup.shadow is not None and trial.shadow.hash != lineup.shadow.hash:
        trial = None
    running = lineups.runs(lineup)
    if as_json:
        found: dict[str, Any] = {"lineup": lineup, "running": running, "trial": trial}
        if trial is not None:
            found["verdict"] = trial.verdict
        click.echo(msgspec.json.encode(found))
        return
    click.echo(f"trades: {lineup.trading.hash}, {lineup.trading.path}" + ("" if running else " (no trader runs)"))
    if lineup.previous is not None:
        click.echo(f"before: {lineup.previous.hash}, {lineup.previous.path} (`cmm models rollback` goes back to it)")
    if lineup.shadow is None:
        click.echo("shadow: none")
        return
    click.echo(f"shadow: {lineup.shadow.hash}, {lineup.shadow.path}")
    if trial is None:
        click.echo("no comparison is known yet")
        return
    _show_trial(trial)


def _show_trial(trial: Trial) -> None:
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
    console.stdout.print(console.table(title, columns, rows))
    click.echo(f"shadow against trading: {trial.verdict}")

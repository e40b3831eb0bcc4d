"""The command that says why a run differs from its backtest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import options
from engine.cli.options import configured

if TYPE_CHECKING:
    from engine.compare.comparison import Comparison
    from engine.config import Config


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--artifact", type=click.Path(path_type=Path), help="Folder of the run's artifact, if it has moved.")
@click.option(
    "--within", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
    help="Fills further apart in time are not the same.",
)  # fmt: skip
@options.as_json
@configured
def compare(config: Config, run: Path, artifact: Path | None, within: float, as_json: bool) -> None:
    """Say why a paper or live run differs from a backtest of what it traded.

    RUN is a run folder of `cmm paper`, the state folder of `cmm live` (its last run), or a journal. The backtest
    assumes what the run was configured with; --set venue.…, fees.…, limits.… or guard.… (or these sections of
    --config) change what it assumes.
    """
    from engine.cli import console
    from engine.compare.compare import Asked
    from engine.compare.compare import compare as compare_run

    given = click.get_current_context().params
    file = config if given["config_path"] is not None else None
    asked = Asked(path=run, overrides=given["overrides"], file=file, artifact=artifact, within_s=within)
    done = compare_run(config, asked, console.PROGRESS)
    console.emit(done, as_json, lambda: _show(done))


def _show(done: Comparison) -> None:
    from engine.cli import console
    from engine.compare.comparison import LABELS

    rows: list[list[object]] = [["backtest", done.pnl.backtest, None]]
    rows += [[LABELS[cause], share, done.changed[cause]] for cause, share in done.split.items()]
    rows.append(["run", done.pnl.run, None])
    title = f"{done.instrument} · {done.quoter} · {done.mode} · {', '.join(day.date for day in done.days)}"
    console.show_table(title, ["from the backtest to the run", f"PnL, {done.currency}", "fills touched"], rows)
    columns = list(done.fills)
    console.show_table("fills", columns, [[done.fills[name] for name in columns]])
    for note in done.notes:
        console.say(note)
    console.say(done.headline)
    console.say(f"report {done.page}")

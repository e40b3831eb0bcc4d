"""The command `cmm`. No command imports its service before it is asked for, so that help comes at once."""

from __future__ import annotations

import click

from engine.cli import backtests, compare, live, models, recordings, trials
from engine.cli.groups import Commands

_COMMANDS: tuple[click.Command, ...] = (
    recordings.import_,
    recordings.capture,
    recordings.inspect,
    recordings.events,
    recordings.export,
    recordings.record,
    recordings.simulate,
    backtests.backtest,
    backtests.calibrate,
    backtests.demo,
    models.train,
    models.probe,
    models.models,
    trials.paper,
    compare.compare,
    trials.exchange,
    trials.drill,
    live.live,
    live.halt,
    live.watchdog,
    live.monitor,
    live.replay_journal,
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cmm")
def main() -> None:
    """Market making: import recordings, train, backtest, trade on paper and live."""


for _command in _COMMANDS:
    main.add_command(_command)

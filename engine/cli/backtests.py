"""Commands that trade recorded or simulated days, and that judge the queue models they trade with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli import options
from engine.cli.options import configured, overriding

if TYPE_CHECKING:
    from engine.config import Config
    from engine.reports.calibration import Calibrated


@click.command()
@options.instrument
@options.dates
@overriding("--artifact", "model.artifact", "Artifact to forecast with.", metavar="PATH")
@overriding("--quoter", "strategy.quoter")
@overriding("--fees", "fees.scenario")
@overriding("--engine", "backtest.engine")
@click.option("--anyway", is_flag=True, help="Trade it even where `cmm inspect` says that it is not usable.")
@options.as_json
@configured
def backtest(config: Config, instrument: str, dates: str | None, anyway: bool, as_json: bool) -> None:
    """Trade recorded days and write a report."""
    from engine.cli import console, results
    from engine.reports.results import run_backtest

    results.emit_kept(run_backtest(config, instrument, dates, console.PROGRESS, anyway=anyway), as_json)


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(min=5), default=30.0, show_default=True, help="Length of the simulated market."
)
@click.option("--seed", type=int, default=2026, show_default=True)
@configured
def demo(config: Config, minutes: float, seed: int) -> None:
    """Simulate a market, backtest the shipped model and two untuned baselines, write a report."""
    from engine.cli import console, results
    from engine.reports.demo import run_demo

    done = run_demo(config, minutes, seed, console.PROGRESS)
    title = f"simulated market, {minutes:g} minutes, {done.book_updates:,} book updates"
    results.show_comparison(title, {quoter: summary.total for quoter, summary in done.summaries.items()})
    console.say("The model was trained on this simulator, the baselines are not tuned for it: this is no ranking.")
    console.say(f"report {done.page.resolve()}", wrapped=False)


@click.command()
@click.option("--instrument", help="An instrument whose recordings show each order (L3).")
@options.dates
@click.option("--simulated", type=click.FloatRange(min=5), metavar="MINUTES", help="Use a simulated market instead.")
@options.as_json
@configured
def calibrate(
    config: Config, instrument: str | None, dates: str | None, simulated: float | None, as_json: bool
) -> None:
    """Compare queue models with true queues; fit the one that backtests use."""
    from engine.cli import console
    from engine.reports.calibration import calibrate_instrument, calibrate_simulated
    from market.errors import ConfigError

    if instrument is not None and simulated is None:
        done = calibrate_instrument(config, instrument, dates, console.PROGRESS)
    elif simulated is not None and instrument is None:
        done = calibrate_simulated(config, simulated, console.PROGRESS)
    else:
        raise ConfigError("name an instrument with --instrument, or the length of a simulated market with --simulated")
    console.emit(done.found, as_json, lambda: _show_calibration(done))


def _show_calibration(done: Calibrated) -> None:
    from engine.cli import console
    from engine.reports.calibration_page import SCORES

    found = done.found
    rows = [[model, *(scores[key] for key, _ in SCORES)] for model, scores in found.models.items()]
    orders = int(found.calibrated["phantoms"] or 0)
    title = f"{found.instrument} · {', '.join(found.days)} · {orders:,} hypothetical orders"
    console.show_table(title, ["queue model", *(label for _, label in SCORES)], rows)
    n, bias = found.n, found.bias
    console.say(
        f"calibrated: n = {n.value:.2f} [{n.low:.2f}, {n.high:.2f}], bias = {bias.value:.2f} [{bias.low:.2f}, "
        f"{bias.high:.2f}], fitted on {found.cancels:,} cancels of the time before"
    )
    console.say(f"report {done.page}")

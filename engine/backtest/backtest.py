"""A backtest as a value: choose days, plan, trade each from flat, and trade them again under other assumptions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.assembly import make_predictor
from engine.backtest.episode import Episode
from engine.backtest.lanes import run_day
from engine.backtest.planning import make_plan
from engine.backtest.sensitivity import Grid, grid
from engine.config import Config
from engine.plan import Plan
from engine.progress import SILENT, Progress, within_day
from engine.recordings.catalog import open_catalog, select_days
from models.ensemble.predictor import Predictor
from venues.recordings.catalog import Catalog, Day


class Task(msgspec.Struct, frozen=True):
    """What is to be traded, and how; the notes say what was chosen and warn of what flatters."""

    catalog: Catalog
    days: list[Day]
    plan: Plan
    notes: list[str]

    @property
    def instrument(self) -> str:
        return self.days[0].instrument


class Traded(msgspec.Struct, frozen=True):
    """What came of it.

    Parameters
    ----------
    instrument : str
    plan : Plan
    episodes : list[Episode]
        One a day.
    notes : list[str]
    grid : Grid, optional
        The same days under other assumptions, where they were traded so.
    predictor : Predictor, optional
        As it was after the last day, where one forecast.

    """

    instrument: str
    plan: Plan
    episodes: list[Episode]
    notes: list[str]
    grid: Grid | None = None
    predictor: Predictor | None = None


def prepare(
    config: Config, instrument: str, dates: str | None = None, progress: Progress = SILENT, *, last: bool = False
) -> Task:
    """Choose days and settle the plan; each note is told to `progress` too.

    Parameters
    ----------
    config : Config
    instrument : str
    dates : str, optional
        `a,b` or `a..b`; all days without it, or the last one with `last`.
    progress : Progress
    last : bool

    """
    catalog = open_catalog(config)
    chosen = select_days(catalog, instrument, dates)
    if dates is None and last:
        chosen = chosen[-1:]
    plan, notes = make_plan(config, catalog, chosen, progress)
    for note in notes:
        progress.note(note)
    return Task(catalog, chosen, plan, notes)


def backtest(task: Task, progress: Progress = SILENT) -> Traded:
    """Trade the days, then again under other assumptions, as `backtest.sensitivity` says."""
    episodes, predictor = run_days(task.catalog, task.days, task.plan, progress)
    assumed = run_grid(task.catalog, task.days, task.plan, episodes, progress)
    overdrawn = [note for episode in episodes if (note := _overdrawn(episode, task.plan.config.venue.starting_balance))]
    for note in overdrawn:
        progress.note(note)
    return Traded(task.instrument, task.plan, episodes, [*task.notes, *overdrawn], assumed, predictor)


def _overdrawn(episode: Episode, balance: float) -> str:
    """A warning where the account fell below zero: nobody denies orders for that."""
    least = balance + float(episode.equity.min(initial=0.0))
    if least >= 0.0:
        return ""
    currency = episode.contract.terms.currency
    return (
        f"WARNING: on {episode.date} the account fell to {least:,.2f} {currency}; orders are not denied for that: "
        "raise venue.starting_balance, or set guard.money.loss_budget"
    )


def run_days(
    catalog: Catalog, days: Sequence[Day], plan: Plan, progress: Progress = SILENT
) -> tuple[list[Episode], Predictor | None]:
    """Trade each day from flat and check that its PnL is explained.

    Where the fusion is recalibrated it goes on from day to day.
    """
    episodes, predictor = [], make_predictor(plan)
    with progress.share(f"backtesting {plan.quoter}") as update:
        for index, day in enumerate(days):
            episode = run_day(catalog, day, plan, within_day(update, index, len(days)), predictor)
            episode.check_identity()
            episodes.append(episode)
    return episodes, predictor


def run_grid(
    catalog: Catalog, days: Sequence[Day], plan: Plan, episodes: Sequence[Episode], progress: Progress = SILENT
) -> Grid | None:
    """Trade the days under other assumptions; None with `backtest.sensitivity: none`."""
    if plan.config.backtest.sensitivity == "none":
        return None
    with progress.share("trading under other assumptions") as update:
        return grid(catalog, days, plan, episodes, lambda share: update("", share))

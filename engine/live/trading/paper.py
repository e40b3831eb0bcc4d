"""Paper trading from start to report: a replayed recording, or a venue's public data."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from engine.artifacts import leaks
from engine.backtest.backtest import Task, Traded, prepare
from engine.backtest.episode import Episode
from engine.calibration import calibrate as calibration
from engine.config import Config, override
from engine.live.deployment.deployment import read_deployment
from engine.live.trading.checklist import check_quoter
from engine.live.trading.live_run import choose
from engine.live.trading.paper_run import replay_day, trade_public
from engine.progress import SILENT, Progress, within_day
from engine.recordings.catalog import contract_table, open_catalog
from engine.reports.results import Kept, write_results
from engine.runs import run_folder
from market.errors import ConfigError
from venues.recordings.catalog import Day


def paper_replay(
    config: Config, instrument: str, dates: str | None = None, speed: float = 0.0, progress: Progress = SILENT
) -> Kept:
    """Replay recorded days through a live node and report as a backtest does.

    Parameters
    ----------
    config : Config
    instrument : str
    dates : str, optional
        `a,b` or `a..b`; the last day without it.
    speed : float
        Times as fast as recorded; 0: as fast as possible.
    progress : Progress

    """
    task = prepare(_once(config), instrument, dates, progress, last=True)
    arguments = {"replay": instrument, "dates": dates, "speed": speed}
    with run_folder(task.plan.config, "paper", arguments) as folder:
        episodes, notes = _replay(task, speed, folder, progress)
        notes = [*task.notes, *notes, *_promotions(folder, task.days)]
        return write_results(folder, Traded(task.instrument, task.plan, episodes, notes))


def _replay(task: Task, speed: float, folder: Path, progress: Progress) -> tuple[list[Episode], list[str]]:
    episodes: list[Episode] = []
    count = len(task.days)
    with progress.share(f"paper {task.plan.quoter}") as update:
        for index, day in enumerate(task.days):
            journal = folder / f"journal-{day.date}.jsonl" if task.plan.config.paper.journal else None
            episode = replay_day(task.catalog, day, task.plan, speed, journal, within_day(update, index, count))
            episode.check_identity()
            episodes.append(episode)
            if episode.counts.get("halted_operator"):  # a person's halt is no day's loss limit: it stands
                later = count - index - 1
                return episodes, [f"halted by the operator on {day.date}; {later} later days were not replayed"]
    return episodes, []


def paper_public(
    config: Config, venue: str, instrument: str, base_url: str | None = None, progress: Progress = SILENT
) -> Kept:
    """Trade a venue's public data on paper for `paper.minutes`, or until it is stopped.

    Raises
    ------
    ConfigError
        There is no adapter for the venue, or the contract is unknown.

    """
    if not hasattr(config.adapters, venue):
        known = ", ".join(config.adapters.__struct_fields__)
        raise ConfigError(f"--venue {venue}: no adapter; known are {known}")
    if base_url is not None:
        config = override(config, {f"adapters.{venue}.base_url": base_url}, f"--base-url {base_url}")
    config = _once(config)
    contract = contract_table(config).by_id(instrument)
    plan = choose(config)
    today = dt.datetime.now(dt.UTC).date()
    queue, why = calibration.resolve(open_catalog(config), instrument, today, config.venue.queue)
    notes = [f"artifact {plan.artifact}", *(item.text for item in check_quoter(plan)), why]
    for note in notes:
        progress.note(note)
    with run_folder(config, "paper", {"venue": venue, "instrument": instrument}) as folder:
        episode = trade_public(plan, contract, queue, venue, folder)
        notes = [*notes, *_promotions(folder, [])]
        return write_results(folder, Traded(contract.id, plan, [episode], notes))


def _promotions(folder: Path, replayed: list[Day]) -> list[str]:
    """Notes on artifacts that took over while a run went on: its result is that of several."""
    deployment = read_deployment(folder)
    notes = []
    for change in deployment.history if deployment is not None else ():
        if change.action not in ("promote", "rollback"):
            continue
        when = dt.datetime.fromtimestamp(change.ts_ns / 1e9, dt.UTC)
        notes.append(
            f"{change.member.hash} took over at {when:%H:%M:%S} UTC by the machine's clock "
            f"({change.action}: {change.because or 'no reason given'})"
        )
        seen = leaks(Path(change.member.path), replayed) if replayed else []
        if seen:
            notes.append(
                f"WARNING: {change.member.hash} was trained up to or after {', '.join(seen)}: in-sample, no evidence"
            )
    return notes


def _once(config: Config) -> Config:
    """Paper trades once: other fees are reckoned on the same fills."""
    return override(config, {"backtest.sensitivity": "none"})

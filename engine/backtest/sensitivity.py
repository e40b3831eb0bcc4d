"""How much of a result hangs on assumptions: queue × latency × fees, traded anew."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Literal, get_args

import msgspec

from engine.assembly import make_predictor
from engine.backtest.episode import Episode
from engine.backtest.metrics import held_lot_ns
from engine.backtest.run import run_day
from engine.config import override
from engine.plan import Plan
from market.contracts import ContractTable
from venues.recordings.catalog import Catalog, Day
from venues.simulation.fees import SCENARIOS, FeeScenario, fees_of
from venues.simulation.queues import QueueConfig

type LatencyCase = Literal["low", "measured", "high"]

LATENCIES: tuple[LatencyCase, ...] = get_args(LatencyCase.__value__)


def queue_cases(plan: Plan) -> list[str]:
    """Queue models to trade under, from fast to slow: the plan's own stands between its bounds."""
    return list(dict.fromkeys(("optimistic", plan.config.venue.queue.model, "pessimistic")))


class Outcome(msgspec.Struct, frozen=True):
    """A day under one set of assumptions: EPnL, |position| times time (lots · ns), time (ns), fills."""

    epnl: float
    held: float
    span: float
    fills: int


class Cell(msgspec.Struct, frozen=True):
    """One set of assumptions and what the days came to under it."""

    queue: str
    latency: LatencyCase
    fees: FeeScenario
    days: list[Outcome]

    @property
    def epnl(self) -> float:
        return sum(day.epnl for day in self.days)


class Assumed(msgspec.Struct, frozen=True):
    """EPnL and fills under one set of assumptions."""

    queue: str
    latency: LatencyCase
    fees: FeeScenario
    epnl: float
    fills: int


class Assumptions(msgspec.Struct, frozen=True):
    """The table of assumptions.

    Parameters
    ----------
    mode : str
        `backtest.sensitivity`.
    latency_low_ms, latency_high_ms : float
    cells : list[Assumed]
    turns_sign : bool
        Whether EPnL is negative under some assumptions and positive under others.
    headline : str
        The span of EPnL, as a sentence.

    """

    mode: str
    latency_low_ms: float
    latency_high_ms: float
    cells: list[Assumed]
    turns_sign: bool
    headline: str

    @property
    def fees(self) -> list[str]:
        """Fee settings, the columns of `rows`."""
        return list(dict.fromkeys(cell.fees for cell in self.cells))

    def rows(self) -> list[list[object]]:
        """A row for each queue model and latency: what it is, then EPnL by fee setting."""
        rows: dict[tuple[str, str], list[object]] = {}
        for cell in self.cells:
            name = f"{cell.queue} queue, {cell.latency} latency"
            rows.setdefault((cell.queue, cell.latency), [name]).append(cell.epnl)
        return list(rows.values())


def outcome(episode: Episode) -> Outcome:
    """A traded day's outcome."""
    held, span = held_lot_ns(episode)
    return Outcome(episode.breakdown.net, held, span, len(episode.recorder.fills))


def grid(
    catalog: Catalog, days: Sequence[Day], plan: Plan, episodes: Sequence[Episode], progress: Callable[[float], None]
) -> list[Cell]:
    """Trade the days under every set of assumptions.

    The run at hand stands for its own cell. A quoter that looks at fees is run again under each
    (`backtest.sensitivity: full`), else the same fills are priced anew.
    """
    settings = plan.config.backtest
    requotes = plan.quoter == "cmm" and settings.sensitivity == "full"
    own = plan.config.fees.scenario
    cells: dict[tuple[str, LatencyCase, FeeScenario], list[Outcome]] = {}
    jobs: list[tuple[str, LatencyCase, FeeScenario]] = []
    for queue in queue_cases(plan):
        for latency in LATENCIES:
            for fees in SCENARIOS if requotes else (own,):
                if (queue, latency, fees) == (plan.config.venue.queue.model, "measured", own):
                    cells.update(_priced((queue, latency, fees), _by_fees(episodes, plan, requotes)))
                else:
                    jobs.append((queue, latency, fees))
    context = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(jobs))
    tables = [str(Path(path)) for path in plan.config.data.contracts]
    dates = [day.date for day in days]
    with ProcessPoolExecutor(workers, context) as pool:
        market = (str(catalog.root), tables, days[0].instrument, dates)
        waiting = {pool.submit(_trade, *market, variant(plan, *job), requotes): job for job in jobs}
        for done, future in enumerate(as_completed(waiting), 1):
            cells.update(_priced(waiting[future], future.result()))
            progress(done / len(jobs))
    return [
        Cell(queue, latency, fees, cells[queue, latency, fees])
        for queue in queue_cases(plan)
        for latency in LATENCIES
        for fees in SCENARIOS
    ]


def variant(plan: Plan, queue: str, latency: LatencyCase, fees: FeeScenario) -> Plan:
    """The plan under other assumptions; its own queue model and `measured` leave it as it is."""
    settings, changes = plan.config.backtest, dict[str, object]({"fees.scenario": fees})
    if latency != "measured":
        ms = settings.latency_low_ms if latency == "low" else settings.latency_high_ms
        changes |= {"venue.latency.decision": {}, "venue.latency.order": {"ms": ms}, "venue.latency.feed": {}}
    own = queue == plan.config.venue.queue.model
    model = plan.queue if own else QueueConfig(model=queue)  # type: ignore[arg-type]
    return msgspec.structs.replace(plan, config=override(plan.config, changes), queue=model)


def _trade(
    root: str, tables: list[str], instrument: str, dates: list[dt.date], plan: Plan, requotes: bool
) -> dict[FeeScenario, list[Outcome]]:
    """In a process of its own: trade the days, give what came of them by fees."""
    catalog = Catalog(Path(root), ContractTable([Path(path) for path in tables]))
    predictor = make_predictor(plan)
    episodes = []
    for date in dates:
        episode = run_day(catalog, catalog.day(instrument, date), plan, None, predictor)
        episode.check_identity()
        episodes.append(episode)
    return _by_fees(episodes, plan, requotes)


def _by_fees(episodes: Sequence[Episode], plan: Plan, requotes: bool) -> dict[FeeScenario, list[Outcome]]:
    own, config = plan.config.fees.scenario, plan.config.fees
    found: dict[FeeScenario, list[Outcome]] = {own: [outcome(e) for e in episodes]}
    for fees in SCENARIOS if not requotes else ():
        if fees != own:
            found[fees] = [
                msgspec.structs.replace(outcome(e), epnl=e.net_under(fees_of(e.contract, fees, config), config))
                for e in episodes
            ]
    return found


def _priced(
    job: tuple[str, LatencyCase, FeeScenario], found: dict[FeeScenario, list[Outcome]]
) -> dict[tuple[str, LatencyCase, FeeScenario], list[Outcome]]:
    return {(job[0], job[1], fees): days for fees, days in found.items()}


def judge(cells: Sequence[Cell], plan: Plan, currency: str) -> Assumptions:
    """The table of assumptions, with a sentence that says whether the result's sign hangs on them."""
    worst, best = min(cells, key=lambda c: c.epnl), max(cells, key=lambda c: c.epnl)
    turns = worst.epnl < 0.0 < best.epnl
    start = "WARNING: the sign of this result depends on assumptions" if turns else "Under all assumptions"
    settings = plan.config.backtest
    return Assumptions(
        settings.sensitivity,
        settings.latency_low_ms,
        settings.latency_high_ms,
        [Assumed(c.queue, c.latency, c.fees, c.epnl, sum(day.fills for day in c.days)) for c in cells],
        turns,
        f"{start}: EPnL from {_says(worst, currency)} to {_says(best, currency)}",
    )


def _says(cell: Cell, currency: str) -> str:
    return f"{cell.epnl:,.0f} {currency} ({cell.queue} queue, {cell.latency} latency, {cell.fees} fees)"

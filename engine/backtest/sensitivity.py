"""How much of a result hangs on assumptions: queue × latency × fees, traded anew."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import msgspec

from engine.assembly import make_predictor, make_quoter
from engine.backtest import nautilus_lane
from engine.backtest.episode import Episode
from engine.backtest.lanes import engine_of, open_markets, trade_market
from engine.backtest.metrics import held_lot_ns
from engine.config import override
from engine.plan import Plan, plan_day
from market.contracts import ContractTable
from strategies.quoters import CmmQuoter
from venues.recordings.catalog import Catalog, Day
from venues.simulation.fees import SCENARIOS, FeeScenario, fees_of
from venues.simulation.queues import QueueConfig

type LatencyCase = Literal["low", "measured", "high"]
type Case = tuple[str, LatencyCase, FeeScenario]

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


class Grid(msgspec.Struct, frozen=True):
    """All cells, how many of them trade differently, and what trading them took, seconds."""

    cells: list[Cell]
    traded: int
    wall_s: float


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
    traded : int
        Sets of assumptions that trade differently; the others differ from one of them by fees alone.
    wall_s : float
        What trading them took.
    turns_sign : bool
        Whether EPnL is negative under some assumptions and positive under others.
    headline : str
        The span of EPnL, as a sentence.

    """

    mode: str
    latency_low_ms: float
    latency_high_ms: float
    cells: list[Assumed]
    traded: int
    wall_s: float
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
) -> Grid:
    """The days under every set of assumptions; sets that trade alike are traded once, and priced each by its fees.

    The run at hand stands for its own. A quoter that looks at fees is run again under each that moves its quotes
    (`backtest.sensitivity: full`), else the same fills are priced anew.
    """
    started = time.perf_counter()
    own: Case = (plan.config.venue.queue.model, "measured", plan.config.fees.scenario)
    alike: dict[bytes, list[Case]] = {_trades_as(catalog, days, variant(plan, *own)): [own]}
    for case in product(queue_cases(plan), LATENCIES, SCENARIOS):
        if case != own:
            alike.setdefault(_trades_as(catalog, days, variant(plan, *case)), []).append(case)
    first, *others = alike.values()
    found = _by_case(episodes, plan, first)
    trade = _in_nautilus if engine_of(plan) == "nautilus" else _in_fast_lane
    for done, cells in enumerate(trade(catalog, days, plan, others), 1):
        found |= cells
        progress(done / len(others))
    cases = product(queue_cases(plan), LATENCIES, SCENARIOS)
    return Grid([Cell(*case, found[case]) for case in cases], len(alike), time.perf_counter() - started)


def _trades_as(catalog: Catalog, days: Sequence[Day], run: Plan) -> bytes:
    """What decides which orders are sent and filled, of all that the cases differ in."""
    costs: tuple[float, ...] = ()
    if run.config.backtest.sensitivity == "full":
        quoters = [make_quoter(run, plan_day(run, catalog, day).break_even_ticks) for day in days]
        costs = tuple(quoter.least_half_ticks for quoter in quoters if isinstance(quoter, CmmQuoter))
    money = run.config.guard.money
    halts = money.loss_budget is not None or money.max_drawdown is not None
    fees = run.config.fees.scenario if halts else None
    return msgspec.json.encode((run.queue, run.config.venue.latency, costs, fees))


def _in_fast_lane(
    catalog: Catalog, days: Sequence[Day], plan: Plan, groups: Sequence[list[Case]]
) -> Iterator[dict[Case, list[Outcome]]]:
    """One after the other, on days that are opened once."""
    if not groups:
        return
    markets = open_markets(catalog, days, plan)
    for cases in groups:
        run = variant(plan, *cases[0])
        episodes = [trade_market(market, plan_day(run, catalog, market.day)) for market in markets]
        for episode in episodes:
            episode.check_identity()
        yield _by_case(episodes, run, cases)


def _in_nautilus(
    catalog: Catalog, days: Sequence[Day], plan: Plan, groups: Sequence[list[Case]]
) -> Iterator[dict[Case, list[Outcome]]]:
    """Side by side, a process each."""
    context = multiprocessing.get_context("spawn")
    workers = max(min(os.cpu_count() or 1, len(groups)), 1)
    tables = [str(Path(path)) for path in plan.config.data.contracts]
    market = (str(catalog.root), tables, days[0].instrument, [day.date for day in days])
    with ProcessPoolExecutor(workers, context) as pool:
        waiting = [pool.submit(_trade, *market, variant(plan, *cases[0]), cases) for cases in groups]
        for future in as_completed(waiting):
            yield future.result()


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
    root: str, tables: list[str], instrument: str, dates: list[dt.date], run: Plan, cases: list[Case]
) -> dict[Case, list[Outcome]]:
    """In a process of its own: trade the days in Nautilus, give what came of them."""
    catalog = Catalog(Path(root), ContractTable([Path(path) for path in tables]))
    predictor = make_predictor(run)
    episodes = []
    for date in dates:
        episode = nautilus_lane.run_day(catalog, catalog.day(instrument, date), run, None, predictor)
        episode.check_identity()
        episodes.append(episode)
    return _by_case(episodes, run, cases)


def _by_case(episodes: Sequence[Episode], run: Plan, cases: Sequence[Case]) -> dict[Case, list[Outcome]]:
    """What the days came to in cases that trade alike, each by its own fees."""
    return {case: [_under(episode, run, case[2]) for episode in episodes] for case in cases}


def _under(episode: Episode, run: Plan, fees: FeeScenario) -> Outcome:
    """A traded day's outcome at a fee setting."""
    config, came = run.config.fees, outcome(episode)
    if fees == config.scenario:
        return came
    return msgspec.structs.replace(came, epnl=episode.net_under(fees_of(episode.contract, fees, config), config))


def judge(grid: Grid, plan: Plan, currency: str) -> Assumptions:
    """The table of assumptions, with a sentence that says whether the result's sign hangs on them."""
    cells = grid.cells
    worst, best = min(cells, key=lambda c: c.epnl), max(cells, key=lambda c: c.epnl)
    turns = worst.epnl < 0.0 < best.epnl
    start = "WARNING: the sign of this result depends on assumptions" if turns else "Under all assumptions"
    settings = plan.config.backtest
    return Assumptions(
        settings.sensitivity,
        settings.latency_low_ms,
        settings.latency_high_ms,
        [Assumed(c.queue, c.latency, c.fees, c.epnl, sum(day.fills for day in c.days)) for c in cells],
        grid.traded,
        round(grid.wall_s, 3),
        turns,
        f"{start}: EPnL from {_says(worst, currency)} to {_says(best, currency)}",
    )


def _says(cell: Cell, currency: str) -> str:
    return f"{cell.epnl:,.0f} {currency} ({cell.queue} queue, {cell.latency} latency, {cell.fees} fees)"

"""What is traded, how and where: a run's choices, and the frozen plan of one day or trader that follows from them.

A plan is fully resolved: whoever builds from it looks nothing up any more, so that a backtest, a paper
run, a live trader and the replay of a journal cannot come to different answers.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.calibration import calibrate as calibration
from engine.config import Config, QuoterName
from market.columns import BOOK
from market.contracts import Contract
from market.errors import ConfigError
from market.sessions import SessionClock
from strategies.guard import GuardConfig
from venues.recordings.catalog import Catalog, Day
from venues.recordings.loaders import traits
from venues.simulation.fees import FeeSchedule, fees_of
from venues.simulation.queues import QueueConfig

LIVE_DEPTH = 50
"""Levels a side that live feeds are asked for."""

_DAY_NS = 86_400 * 10**9  # a clock that is set back must not lead out of the session
_YEAR_NS = 366 * _DAY_NS


class Plan(msgspec.Struct, frozen=True):
    """The choices of a run, before its days are named."""

    config: Config
    quoter: QuoterName
    artifact: Path | None
    intensity: tuple[float, float] | None
    """(A, k) for the optimal-control baselines."""
    queue: QueueConfig | None = None
    """The queue model with its parameters, where `calibrated` has been resolved."""
    closed: tuple[tuple[int, int], ...] = ()
    """Times of a recorded day in which nothing is quoted, (start, end) in ns: rising, apart, the end not included."""
    quoter_sha256: str | None = None
    """Of the file of a quoter of the user's own."""


class TradingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that one maker and its exchange are built from.

    Parameters
    ----------
    run : Plan
    contract : Contract
    depth : int
        Levels a side that the feed shows, 0 for the whole book.
    sessions : list[tuple[int, int]]
        (open, close), ns.
    span : tuple[int, int]
        Of the market that is traded, ns.
    guard : GuardConfig
        With the feed's own rule for sequence numbers.
    price_ticks : float or None
        Of the instrument: fees as a fraction of turnover become ticks by it. None while unknown.
    queue : QueueConfig or None
        Of the simulated exchange; None where a real one decides.
    snapshots, books_first, names_orders : bool
        How the feed tells of trades: only at the end of an interval, after the book that they changed,
        with the names of orders.
    answer_s : float, optional
        A command that is not answered for so long stops trading.

    """

    run: Plan
    contract: Contract
    depth: int
    sessions: list[tuple[int, int]]
    span: tuple[int, int]
    guard: GuardConfig
    price_ticks: float | None
    queue: QueueConfig | None = None
    snapshots: bool = False
    books_first: bool = False
    names_orders: bool = False
    answer_s: float | None = None

    @property
    def config(self) -> Config:
        return self.run.config

    def make_fees(self) -> FeeSchedule:
        """A schedule of the fees that the configuration names, from flat."""
        fees = self.config.fees
        return FeeSchedule(self.contract, fees_of(self.contract, fees.scenario, fees), fees)

    @property
    def break_even_ticks(self) -> float:
        """Half of what a maker's round trip costs; 0 while no price is known."""
        return self.make_fees().break_even_ticks(self.price_ticks) if self.price_ticks is not None else 0.0


def plan_day(run: Plan, catalog: Catalog, day: Day) -> TradingPlan:
    """The plan of one recorded day.

    Raises
    ------
    ConfigError
        An exact queue is asked for and the recording names no orders, or it holds no prices.

    """
    contract = catalog.contract(day)
    queue = run.queue or calibration.resolve(catalog, day.instrument, day.date, run.config.venue.queue)[0]
    if queue.model == "fifo" and not day.orders:
        raise ConfigError(
            f"venue.queue.model fifo: the recording of {day.instrument} {day.date} names no orders (L3); "
            "use calibrated, or import an L3 recording (again, if it was imported by an older version)"
        )
    feed = traits(day.format)
    return TradingPlan(
        run=run,
        contract=contract,
        depth=day.depth,
        sessions=_without(
            SessionClock(contract.sessions).closes(day.start_ns, day.end_ns),
            run.closed,
            round(run.config.strategy.stop_before_close_s * 1e9),
        ),
        span=(day.start_ns, day.end_ns),
        guard=run.config.guard,
        price_ticks=first_price(catalog, day),
        queue=queue,
        snapshots=feed.snapshots,
        books_first=feed.books_first,
        names_orders=queue.model == "fifo",
    )


def _without(
    sessions: list[tuple[int, int]], closed: tuple[tuple[int, int], ...], stop_ns: int
) -> list[tuple[int, int]]:
    """Sessions with times taken out; quoting, which stops `stop_ns` before a session's end, stops as these begin."""
    found = []
    for start, end in sessions:
        begin = start
        for first, last in closed:
            if begin < last and first <= end:
                if begin < first:
                    found.append((begin, first + stop_ns))
                begin = last
        if begin < end:
            found.append((begin, end))
    return found


def plan_public(run: Plan, contract: Contract, queue: QueueConfig, now_ns: int) -> TradingPlan:
    """The plan of a paper run on public data, from now on.

    Raises
    ------
    ConfigError
        The queue model needs a recording that names orders.

    """
    if queue.model == "fifo":
        raise ConfigError(
            "venue.queue.model fifo: the recording of live data names no orders (L3); "
            "use calibrated, or import an L3 recording (again, if it was imported by an older version)"
        )
    span = (now_ns, now_ns + _YEAR_NS)
    return TradingPlan(
        run=run,
        contract=contract,
        depth=LIVE_DEPTH,
        sessions=SessionClock(contract.sessions).closes(*span),
        span=span,
        guard=_guard_of(run.config, contract.exchange.lower()),
        price_ticks=None,
        queue=queue,
    )


def plan_live(run: Plan, contract: Contract, price_ticks: float, now_ns: int) -> TradingPlan:
    """The plan of a live trader, from now on."""
    config = run.config
    return TradingPlan(
        run=run,
        contract=contract,
        depth=LIVE_DEPTH,
        sessions=SessionClock(contract.sessions).closes(now_ns - _DAY_NS, now_ns + _YEAR_NS),
        span=(now_ns, now_ns + _YEAR_NS),
        guard=_guard_of(config, config.live.venue),
        price_ticks=price_ticks,
        answer_s=config.live.answer_s,
    )


def _guard_of(config: Config, venue: str) -> GuardConfig:
    """The guard with the venue's own rule for sequence numbers, unless the configuration names one."""
    guard, adapter = config.guard, getattr(config.adapters, venue, None)
    if adapter is None or guard.data.sequence != "ignore":
        return guard
    return msgspec.structs.replace(guard, data=msgspec.structs.replace(guard.data, sequence=adapter.sequence))


def first_price(catalog: Catalog, day: Day) -> float:
    """A price of the day, ticks."""
    for part in day.pieces:  # the whole day would be copied from its parts
        columns = catalog.columns(part)
        for event in range(len(columns.kind)):
            rows = slice(columns.first[event], columns.first[event + 1])
            stands = columns.size[rows] > 0
            if columns.kind[event] == BOOK and stands.any():
                return float(columns.price[rows][stands][0])
    raise ConfigError(f"{day.instrument} {day.date}: the recording holds no prices")

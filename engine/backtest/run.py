"""Backtests: each trading day is an episode, streamed from the catalog through Nautilus' backtest engine."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.model import AccountType, BookType, Currency, Money, OmsType, Venue
from nautilus_trader.risk import RiskEngineConfig

from engine.backtest.disposal import collected
from engine.backtest.episode import Episode
from engine.backtest.run_recorder import Tape
from engine.calibration.calibrate import calibrate as calibration
from engine.config import Config, QuoterName
from market.contracts import Contract
from market.errors import ConfigError
from market.nautilus import Instrument, batches, nautilus_instrument
from market.sessions import SessionClock
from models.ensemble.predictor import Predictor
from strategies.feature_stream import FeatureStream
from strategies.maker import MakerConfig, MarketMaker
from strategies.quoters import (
    AvellanedaStoikovQuoter,
    CmmQuoter,
    FoicQuoter,
    GlftQuoter,
    LiicQuoter,
    LtiicQuoter,
    Quoter,
)
from venues.recordings.catalog import Catalog, Day
from venues.recordings.loaders import traits
from venues.simulation.exchange import QueueFills, SimulatedVenue
from venues.simulation.fees import FeeSchedule, ScheduledFees, fees_of
from venues.simulation.latency import CommandPath
from venues.simulation.queues import Fifo, Optimistic, Pessimistic, Power, Proportional, QueueConfig, QueueModel

_NO_LIMIT = "10000000/00:00:01"  # our own limits decide; Nautilus' default denies the 101st order of a second

type Progress = Callable[[dt.date, float], None]


class Plan(msgspec.Struct, frozen=True):
    """All that a backtest run needs besides its days."""

    config: Config
    quoter: QuoterName
    artifact: Path | None
    intensity: tuple[float, float] | None
    """(A, k) for the optimal-control baselines."""
    queue: QueueConfig | None = None
    """The queue model with its parameters, where `calibrated` has been resolved."""


def make_quoter(plan: Plan, break_even_ticks: float) -> Quoter:
    """Build the quoter that a plan names."""
    s = plan.config.strategy
    if plan.quoter == "cmm":
        return CmmQuoter(s.cmm, break_even_ticks)
    if plan.quoter in ("foic", "liic", "ltiic"):
        return {"foic": FoicQuoter, "liic": LiicQuoter, "ltiic": LtiicQuoter}[plan.quoter](s.offset)
    if plan.intensity is None:
        raise ConfigError(f"quoter {plan.quoter} needs intensities: set strategy.intensity.a and strategy.intensity.k")
    a, k = plan.intensity
    if plan.quoter == "as":
        return AvellanedaStoikovQuoter(s.intensity.gamma, k, s.intensity.remaining_s)
    return GlftQuoter(s.intensity.gamma, a, k)


def make_predictor(plan: Plan) -> Predictor | None:
    """The artifact of a plan, recalibrating if the configuration says so; one serves consecutive days."""
    return Predictor(plan.artifact, plan.config.model.recalibrate) if plan.artifact is not None else None


def make_queue(config: QueueConfig, day: Day | None) -> QueueModel:
    """Build the queue model for a day's feed; without a day for a live one.

    Raises
    ------
    ConfigError
        An exact queue is asked for and the recording names no orders.

    """
    books_first = day is not None and traits(day.format).books_first
    if config.model == "fifo":
        if day is None or not day.orders:
            named = f"{day.instrument} {day.date}" if day is not None else "live data"
            raise ConfigError(
                f"venue.queue.model fifo: the recording of {named} names no orders (L3); "
                "use calibrated, or import an L3 recording (again, if it was imported by an older version)"
            )
        return Fifo(books_first)
    if config.model == "power":
        return Power(config.n, config.bias, books_first)
    simple: dict[str, Callable[[bool], QueueModel]] = {
        "pessimistic": Pessimistic,
        "optimistic": Optimistic,
        "proportional": Proportional,
    }
    return simple[config.model](books_first)


@collected
def run_day(
    catalog: Catalog, day: Day, plan: Plan, progress: Progress | None = None, predictor: Predictor | None = None
) -> Episode:
    """Trade one day from flat; a predictor that has served earlier days goes on from what it learnt there.

    Raises
    ------
    Exception
        Whatever a strategy callback raised: a failed decision never passes for a quiet day.

    """
    config = plan.config
    contract = catalog.contract(day)
    fees = fees_of(contract, config.fees.scenario, config.fees)
    predictor = predictor if predictor is not None else make_predictor(plan)
    if predictor is not None and predictor.recalibrator is not None:
        predictor.recalibrator.start()
    span = max(day.end_ns - day.start_ns, 1)
    tape = Tape((lambda ts: progress(day.date, (ts - day.start_ns) / span)) if progress else None)
    price = first_price(catalog, day)
    quoter = make_quoter(plan, FeeSchedule(contract, fees, config.fees).break_even_ticks(price))
    instrument = Instrument(contract, day.depth)
    feed = FeatureStream(instrument, predictor.manifest.spec if predictor else config.features)
    queue = plan.queue or calibration.resolve(catalog, day.instrument, day.date, config.venue.queue)[0]
    path = CommandPath(config.venue.latency, day.start_ns, day.end_ns)
    venue = SimulatedVenue(
        make_queue(queue, day) if queue.model != "nautilus" else None,
        instrument,
        path,
        feed.peek,
        lambda: int(maker.clock.timestamp_ns()),  # the maker is made with this venue
        traits(day.format).snapshots,
        queue.model == "fifo",
    )
    maker = MarketMaker(
        MakerConfig(
            config.strategy.ladder,
            config.strategy.differ,
            config.limits,
            config.guard,
            config.strategy.stop_before_close_s,
            SessionClock(contract.sessions).closes(day.start_ns, day.end_ns),
            contract.worth,
            contract.turnover,
        ),
        instrument,
        feed,
        quoter,
        predictor,
        tape,
        venue,
    )
    fee_model = ScheduledFees(FeeSchedule(contract, fees, config.fees), contract)
    started = time.perf_counter()
    net = stream_day(catalog, day, contract, maker, fee_model, config, lambda: _mid(tape), venue)
    wall = time.perf_counter() - started
    counts = {**maker.counts, **venue.counts, "locked_lots": fee_model.schedule.locked_lots}
    return Episode(day.date, contract, tape, net, counts, wall)


def stream_day(
    catalog: Catalog,
    day: Day,
    contract: Contract,
    strategy: Any,
    fee_model: Any,
    config: Config,
    last_mid: Callable[[], float],
    simulated: SimulatedVenue | None = None,
) -> float:
    """Stream one day through Nautilus' engine with one strategy; return the venue's net PnL.

    Whole batches are delivered and matched, one catalog file in memory at a time. Without a
    `simulated` venue, or with one that has no matcher, Nautilus' own queue decides. (A
    `BacktestNode` would stream by itself, but refuses fill models written in Python.)
    """
    hosted = simulated if simulated is not None and simulated.matcher is not None else None
    currency = Currency.from_str(contract.terms.currency)
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggerConfig(bypass_logging=True),
            bypass_logging=True,
            run_analysis=False,
            shutdown_on_error=True,
            risk_engine=RiskEngineConfig(max_order_submit_rate=_NO_LIMIT, max_order_modify_rate=_NO_LIMIT),
        )
    )
    try:
        engine.add_venue(
            Venue(contract.exchange),
            OmsType.NETTING,
            AccountType.MARGIN,
            [Money(config.venue.starting_balance, currency)],
            default_leverage=Decimal(100),
            book_type=BookType.L2_MBP,
            fee_model=fee_model,
            fill_model=QueueFills(hosted) if hosted is not None else None,
            queue_position=hosted is None,
        )
        engine.add_instrument(nautilus_instrument(contract, day.date))
        engine.add_strategy(strategy)
        for deltas, trades in catalog.chunks(day):
            updates = batches(deltas)
            for data in (updates, trades):
                if data:
                    engine.add_data(data, validate=False, sort=False)
            engine.sort_data()
            if simulated is not None:
                simulated.load(sorted([*updates, *trades], key=lambda event: event.ts_init))
            engine.run(streaming=True)
            engine.clear_data()
            if strategy.failure is not None:
                raise strategy.failure
        engine.end()
        if strategy.failure is not None:
            raise strategy.failure
        account = engine.cache.account_for_venue(Venue(contract.exchange))
        if account is None:
            raise RuntimeError(f"{contract.id}: the venue kept no account")
        net = account.balance_total(currency).as_double() - config.venue.starting_balance
        units = Instrument(contract)
        for position in engine.cache.positions_open():
            lots = position.signed_qty / contract.lot
            opened = position.avg_px_open / (units.tick_raw / 1e16)
            net += lots * (contract.worth(last_mid()) - contract.worth(opened))
        return float(net)
    finally:
        engine.dispose()


def _mid(tape: Tape) -> float:
    return float(tape.mids[-1]) if len(tape.ts_ns) else 0.0


def first_price(catalog: Catalog, day: Day) -> float:
    """A price of the day, ticks: fees as a fraction of turnover become ticks by it."""
    units = Instrument(catalog.contract(day))
    for deltas, _ in catalog.chunks(day):
        for delta in deltas:
            if not delta.is_clear and not delta.is_delete:
                return float(units.ticks(delta.order.price))
    raise ConfigError(f"{day.instrument} {day.date}: the recording holds no prices")

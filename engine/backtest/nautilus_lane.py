"""The Nautilus lane: a trading day, streamed from the catalog through Nautilus' backtest engine."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.execution import FeeModel
from nautilus_trader.model import AccountType, BookType, Currency, Money, OmsType, Venue
from nautilus_trader.risk import RiskEngineConfig

from engine.assembly import build_maker, make_exchange, make_predictor, make_stream
from engine.backtest.episode import Episode
from engine.backtest.run_recorder import RunRecorder
from engine.disposal import collected
from engine.plan import Plan, plan_day
from market.nautilus import batches, nautilus_instrument
from models.ensemble.predictor import Predictor
from strategies.clock import SimulatedClock
from strategies.fill_policy import ExactFills
from strategies.observer import Observer, Observers
from strategies.subscription import RecordedSubscription
from strategies.wiring import Ports
from venues.recordings.catalog import Catalog, Day
from venues.simulation.fees import ScheduledFees
from venues.simulation.hosted import QueueFills, SimulatedGateway

type Progress = Callable[[dt.date, float], None]


class Streamed(Protocol):
    """A Nautilus strategy that keeps its first failure."""

    @property
    def failure(self) -> Exception | None:
        """What a callback raised."""


@collected
def run_day(
    catalog: Catalog,
    day: Day,
    run: Plan,
    progress: Progress | None = None,
    predictor: Predictor | None = None,
    observer: Observer | None = None,
) -> Episode:
    """Trade one day from flat; a predictor that has served earlier days goes on from what it learnt there.

    An observer is told of all that the maker does, after the run's own record.

    Raises
    ------
    Exception
        Whatever a strategy callback raised: a failed decision never passes for a quiet day.

    """
    predictor = predictor if predictor is not None else make_predictor(run)
    if predictor is not None and predictor.recalibrator is not None:
        predictor.recalibrator.start()
    plan = plan_day(run, catalog, day)
    span = max(day.end_ns - day.start_ns, 1)
    recorder = RunRecorder((lambda ts: progress(day.date, (ts - day.start_ns) / span)) if progress else None)
    stream = make_stream(plan, predictor)
    gateway = SimulatedGateway(make_exchange(plan, stream.peek))
    observers = Observers([recorder, observer]) if observer is not None else recorder
    ports = Ports(gateway, SimulatedClock(), ExactFills(), RecordedSubscription(), observers)
    maker = build_maker(plan, predictor, ports, stream)
    fees = ScheduledFees(gateway.exchange.fees, plan.contract)
    started = time.perf_counter()
    net = stream_day(
        catalog, day, maker, fees, balance=run.config.venue.starting_balance, gateway=gateway,
        last_mid=lambda: recorder.last_mid,
    )  # fmt: skip
    wall = time.perf_counter() - started
    return Episode(day.date, plan.contract, recorder, net, {**maker.counts, **gateway.counts}, wall)


def stream_day(
    catalog: Catalog,
    day: Day,
    strategy: Streamed,
    fee_model: FeeModel,
    *,
    balance: float,
    gateway: SimulatedGateway | None = None,
    last_mid: Callable[[], float] = float,
) -> float:
    """Stream one day through Nautilus' engine with one strategy; return the venue's net PnL.

    Whole batches are delivered and matched, one catalog file in memory at a time. Without a `gateway`,
    or with one whose exchange has no queue model, Nautilus' own queue decides. (A `BacktestNode` would
    stream by itself, but refuses fill models written in Python.) Positions that are open at the end are
    marked to `last_mid()`, ticks.
    """
    contract = catalog.contract(day)
    hosted = gateway if gateway is not None and gateway.exchange.matcher is not None else None
    currency = Currency.from_str(contract.terms.currency)
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggerConfig(bypass_logging=True),
            bypass_logging=True,
            run_analysis=False,
            shutdown_on_error=True,
            risk_engine=RiskEngineConfig(bypass=True),  # our own limits decide
        )
    )
    try:
        engine.add_venue(
            Venue(contract.exchange),
            OmsType.NETTING,
            AccountType.MARGIN,
            [Money(balance, currency)],
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
            if gateway is not None:
                gateway.load(sorted([*updates, *trades], key=lambda event: event.ts_init))
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
        net = account.balance_total(currency).as_double() - balance
        mid = last_mid()
        for position in engine.cache.positions_open():
            lots = position.signed_qty / contract.lot
            opened = position.avg_px_open / contract.tick
            net += lots * (contract.mark_value(mid) - contract.mark_value(opened))
        return float(net)
    finally:
        engine.dispose()

"""Backtests: each trading day is an episode, streamed from the catalog through Nautilus' backtest node."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.backtest import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestNode,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.common import LoggerConfig
from nautilus_trader.execution import StaticLatencyModel
from nautilus_trader.model import Currency, InstrumentId, NautilusDataType, Venue
from nautilus_trader.risk import RiskEngineConfig

from engine.config import Config, ConfigError, QuoterName
from engine.episode import Episode
from engine.fees import FeeSchedule, ScheduledFees, fees_of
from engine.tape import Tape
from models.predictor import Predictor
from strategies.feed import Instrument
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
from venues.catalog import Catalog, Day
from venues.contracts import Contract
from venues.nautilus import Units
from venues.sessions import SessionClock

_NO_LIMIT = "10000000/00:00:01"  # our own limits decide; Nautilus' default denies the 101st order of a second

type Progress = Callable[[dt.date, float], None]


class Plan(msgspec.Struct, frozen=True):
    """All that a backtest run needs besides its days."""

    config: Config
    quoter: QuoterName
    artifact: Path | None
    intensity: tuple[float, float] | None
    """(A, k) for the optimal-control baselines."""


def make_instrument(contract: Contract, depth: int) -> Instrument:
    """What the maker has to know of a contract."""
    units = Units(contract)
    return Instrument(
        contract.id, units.tick_raw, units.lot_raw, contract.price_precision, contract.size_precision, depth
    )


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
    units = Units(contract)
    fees = fees_of(contract, config.fees.scenario, config.fees)
    predictor = predictor if predictor is not None else make_predictor(plan)
    if predictor is not None and predictor.recalibrator is not None:
        predictor.recalibrator.start()
    span = max(day.end_ns - day.start_ns, 1)
    tape = Tape((lambda ts: progress(day.date, (ts - day.start_ns) / span)) if progress else None)
    price = _first_price(catalog, day, units)
    quoter = make_quoter(plan, FeeSchedule(contract, fees).break_even_ticks(price))
    latency_ns = round(config.venue.order_latency_ms * 1e6)
    maker = MarketMaker(
        MakerConfig(
            config.strategy.ladder,
            config.strategy.differ,
            config.limits,
            config.strategy.stop_before_close_s,
            SessionClock(contract.sessions).closes(day.start_ns, day.end_ns),
            latency_ns,
        ),
        make_instrument(contract, day.depth),
        predictor.manifest.spec if predictor else config.features,
        quoter,
        predictor,
        tape,
    )
    fee_model = ScheduledFees(FeeSchedule(contract, fees), contract, units.tick_raw, units.lot_raw)
    started = time.perf_counter()
    net = run_node(catalog, day, contract, maker, fee_model, latency_ns, config, lambda: _mid(tape))
    wall = time.perf_counter() - started
    return Episode(day.date, contract, tape, net, dict(maker.counts), wall)


def run_node(
    catalog: Catalog,
    day: Day,
    contract: Contract,
    maker: Any,
    fee_model: Any,
    latency_ns: int,
    config: Config,
    last_mid: Callable[[], float],
) -> float:
    """Stream one day through a node with one strategy; return the venue's net PnL (quote currency)."""
    currency = contract.terms.currency
    start = f"{config.venue.starting_balance:.2f} {currency}"
    venue = BacktestVenueConfig(
        name=contract.exchange,
        oms_type="NETTING",
        account_type="MARGIN",
        starting_balances=[start],
        book_type="L2_MBP",
        queue_position=True,
        trade_execution=True,
        default_leverage=Decimal(100),
        fee_model=fee_model,
        latency_model=StaticLatencyModel(base_latency_nanos=latency_ns) if latency_ns else None,
    )
    data = [
        BacktestDataConfig(
            data_type=kind,
            catalog_path=catalog.path,
            instrument_id=InstrumentId.from_str(contract.id),
            start_time=day.start_ns,
            end_time=day.end_ns,
            batch_deltas=kind == NautilusDataType.OrderBookDelta,
        )
        for kind in (NautilusDataType.OrderBookDelta, NautilusDataType.TradeTick)
        if kind == NautilusDataType.OrderBookDelta or day.trades
    ]
    run = BacktestRunConfig(
        venues=[venue],
        data=data,
        engine=BacktestEngineConfig(
            logging=LoggerConfig(bypass_logging=True),
            bypass_logging=True,
            run_analysis=False,
            shutdown_on_error=True,
            risk_engine=RiskEngineConfig(max_order_submit_rate=_NO_LIMIT, max_order_modify_rate=_NO_LIMIT),
        ),
        chunk_size=config.backtest.chunk_size,
        dispose_on_completion=False,
    )
    node = BacktestNode([run])
    try:
        node.build()
        node.add_strategy(run.id, maker)
        node.run()
        if maker.failure is not None:
            raise maker.failure
        cache = node.get_engine_cache(run.id)
        account = cache.account_for_venue(Venue(contract.exchange))
        if account is None:
            raise RuntimeError(f"{contract.id}: the venue kept no account")
        balance = account.balance_total(Currency.from_str(currency)).as_double()
        net = balance - config.venue.starting_balance
        units = Units(contract)
        for position in cache.positions_open():
            lots = position.signed_qty / contract.lot
            gain = last_mid() - position.avg_px_open / (units.tick_raw / 1e16)
            net += lots * gain * contract.value_per_tick_lot
        return float(net)
    finally:
        node.dispose()


def _mid(tape: Tape) -> float:
    return float(tape.mids[-1]) if len(tape.ts_ns) else 0.0


def _first_price(catalog: Catalog, day: Day, units: Units) -> float:
    """A price of the day, ticks: fees as a fraction of turnover become ticks by it."""
    for deltas, _ in catalog.chunks(day):
        for delta in deltas:
            if not delta.is_clear and not delta.is_delete:
                return float(delta.order.price.raw // units.tick_raw)
    raise ConfigError(f"{day.instrument} {day.date}: the recording holds no prices")

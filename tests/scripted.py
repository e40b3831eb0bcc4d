"""A maker that trades a recorded script through the engine, against our matcher or Nautilus' own queue."""

from __future__ import annotations

from decimal import Decimal

from nautilus_trader.execution import MakerTakerFeeModel

from engine.backtest.nautilus_lane import stream_day
from engine.backtest.run_recorder import RunRecorder
from market.contracts import Fees
from market.nautilus import Instrument
from models.features.book_features import FeatureSpec
from strategies.clock import SimulatedClock
from strategies.feature_stream import FeatureStream
from strategies.fill_policy import ExactFills
from strategies.maker import MarketMaker
from strategies.quoters import Quoter
from strategies.subscription import RecordedSubscription
from strategies.wiring import MakerConfig, Ports, Quoting
from venues.recordings.catalog import Catalog, Day
from venues.simulation.exchange import SimulatedExchange
from venues.simulation.fees import FeeSchedule
from venues.simulation.hosted import SimulatedGateway
from venues.simulation.latency import CommandPath, DelayConfig, LatencyConfig
from venues.simulation.queues import QueueModel

ZERO = MakerTakerFeeModel(Decimal(0), Decimal(0))


def trade_script(
    catalog: Catalog,
    day: Day,
    quoter: Quoter,
    settings: MakerConfig,
    queue: QueueModel | None,
    *,
    order_ms: float = 0.0,
    snapshots: bool = False,
) -> RunRecorder:
    """Trade a day without fees, its features warm at once, and return what was recorded."""
    contract = catalog.contract(day)
    instrument = Instrument(contract, 0)
    stream, recorder = FeatureStream(instrument, FeatureSpec(warm_up_s=0.0, max_gap_s=1000.0)), RunRecorder()
    path = CommandPath(LatencyConfig(decision=DelayConfig(), order=DelayConfig(ms=order_ms)), day.start_ns, day.end_ns)
    exchange = SimulatedExchange(
        instrument, queue, path, FeeSchedule(contract, Fees()), snapshots=snapshots, decode=stream.peek
    )
    gateway = SimulatedGateway(exchange)
    ports = Ports(gateway, SimulatedClock(), ExactFills(), RecordedSubscription(), recorder)
    maker = MarketMaker(settings, instrument, Quoting(stream, quoter), ports)
    stream_day(catalog, day, maker, ZERO, balance=1e8, gateway=gateway, last_mid=lambda: recorder.last_mid)
    return recorder

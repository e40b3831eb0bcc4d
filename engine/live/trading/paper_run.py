"""`cmm paper`: the maker in a live node, on a replayed recording or on public data, at the paper venue."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from nautilus_trader.live import LiveNode
from numpy.typing import NDArray

from engine.backtest.disposal import collected
from engine.backtest.episode import Episode
from engine.backtest.run import Plan, first_price, make_predictor, make_queue, make_quoter
from engine.backtest.run_recorder import Tape
from engine.calibration.calibrate import calibrate as calibration
from engine.live.deployment import deployment as lineups
from engine.live.deployment.model_manager import ModelLife
from engine.live.records.journal import Journal, header_of
from engine.live.safety.data_alarm import DataAlarm
from engine.live.telemetry import Telemetry, about_of
from engine.live.trading.node import Stopper, data_factory, execution_factory, make_builder
from engine.live.trading.paper_venue import PaperConfig, PaperVenue
from market.contracts import Contract
from market.errors import ConfigError
from market.events import ASK, BID
from market.nautilus import Decoder, Instrument
from market.sessions import SessionClock
from models.ensemble.predictor import Forecast, Predictor
from strategies.decision import Decision, Inputs
from strategies.feature_stream import FeatureStream
from strategies.maker import MakerConfig, MarketMaker, OwnFill
from strategies.quoters import CmmQuoter
from strategies.values import Ladder, Market
from venues.live.adapters import add_public_data
from venues.recordings.catalog import Catalog, Day
from venues.recordings.loaders import traits
from venues.recordings.replay import Replay, ReplayClock, ReplayConfig
from venues.simulation.exchange import SimulatedVenue
from venues.simulation.fees import FeeSchedule, fees_of
from venues.simulation.latency import CommandPath
from venues.simulation.paper import PaperConfig, PaperVenue
from venues.simulation.queues import QueueConfig

type Progress = Callable[[dt.date, float], None]

_YEAR_NS = 366 * 86_400 * 10**9
_LIVE_DEPTH = 50


class Recorder:
    """The maker's observer: tape, journal and telemetry."""

    def __init__(self, tape: Tape, telemetry: Telemetry | None) -> None:
        self.journal: Journal | None = None
        self.on_actions = tape.on_actions
        self.on_halt = tape.on_halt
        self._tape, self._telemetry = tape, telemetry
        self.models: ModelLife | None = None

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        self._tape.on_update(ts_ns, market, position, forecast, ladder)
        if self._telemetry is not None:
            self._telemetry.on_update(ts_ns, market, forecast, ladder)
        if self.models is not None:
            self.models.on_update(ts_ns, market, forecast, ladder is not None)

    def on_decision(self, wall_ns: int) -> None:
        self._tape.on_decision(wall_ns)
        if self._telemetry is not None:
            self._telemetry.on_decision(wall_ns)

    def on_fill(self, fill: OwnFill) -> None:
        self._tape.on_fill(fill)
        if self._telemetry is not None:
            self._telemetry.on_fill(fill)

    def on_decided(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        if self.journal is not None:
            self.journal.append(ts_ns, features, inputs, decision)


class Paper:
    """Maker and paper venue of one instrument, ready to be put into a node.

    Parameters
    ----------
    plan : Plan
    contract : Contract
    queue : tuple
        A queue model's configuration, and the day or (live) None whose feed it is for.
    span : tuple[int, int]
        Times between which sessions are looked for, ns.
    price : float or None
        Of the instrument, ticks: fees as a fraction of turnover become ticks by it. None waits for the
        first book before anything is quoted.
    now : callable or None
        The market's time where it is not the node's clock.
    journal : Path or None

    """

    def __init__(
        self,
        plan: Plan,
        contract: Contract,
        queue: QueueConfig,
        day: Day | None,
        span: tuple[int, int],
        price: float | None,
        now: Callable[[], int] | None,
        journal: Path | None,
    ) -> None:
        config = plan.config
        if config.model.recalibrate.enabled:
            raise ConfigError("model.recalibrate.enabled: recalibration works in backtests only so far; switch it off")
        if queue.model == "nautilus" or (day is None and queue.model == "fifo"):
            raise ConfigError(f"venue.queue.model {queue.model}: the paper venue does not host it; use calibrated")
        self.contract, self._now = contract, now
        self.tape = Tape()
        fees = fees_of(contract, config.fees.scenario, config.fees)
        self._schedule = FeeSchedule(contract, fees, config.fees)
        self._path = CommandPath(config.venue.latency, *span)
        depth = day.depth if day is not None else _LIVE_DEPTH
        instrument = Instrument(contract, depth)
        snapshots = day is not None and traits(day.format).snapshots
        self._simulated = SimulatedVenue(
            make_queue(queue, day), instrument, self._path, Decoder(instrument).book, self.now, snapshots,
            queue.model == "fifo",
        )  # fmt: skip
        lineup = None
        if journal is not None:
            plan, lineup = lineups.begin(journal.parent, plan)
        predictor: Predictor | None = make_predictor(plan)
        self._quoter = make_quoter(plan, 0.0)
        self._break_even = 0.0
        self._journals = 0
        self._plan, self._predictor, self._span, self._journal_path = plan, predictor, span, journal
        guard = config.guard
        if day is None:
            adapter = getattr(config.adapters, contract.exchange.lower(), None)
            if adapter is not None and guard.data.sequence == "ignore":
                guard = msgspec.structs.replace(
                    guard, data=msgspec.structs.replace(guard.data, sequence=adapter.sequence)
                )
        self.telemetry: Telemetry | None = None
        if config.monitor.enabled:
            about = about_of(config, contract, predictor, "paper", plan.quoter, plan.artifact)
            self.telemetry = Telemetry(config, about, contract, predictor)
        self._recorder = Recorder(self.tape, self.telemetry)
        self.maker = MarketMaker(
            MakerConfig(
                config.strategy.ladder, config.strategy.differ, config.limits, guard,
                config.strategy.stop_before_close_s, SessionClock(contract.sessions).closes(*span),
                contract.worth, contract.turnover, is_live=day is None,
            ),
            instrument,
            FeatureStream(instrument, predictor.manifest.spec if predictor is not None else config.features),
            self._quoter,
            predictor,
            self._recorder,
            now=now,
            tap=self._tap if day is None else None,
            upkeep=(round(config.monitor.every_ms * 1e6), self._upkeep),
        )  # fmt: skip
        if predictor is not None and lineup is not None and journal is not None:
            self._recorder.models = ModelLife(
                journal.parent, config, lineup, predictor, contract.id,
                lambda one, who: self._new_journal(one, Path(who.path)),
                lambda key: journal.with_name(f"shadow-{key}-{time.time_ns() // 10**6}.jsonl"),
                self._promoted, _say,
            )  # fmt: skip
            self._recorder.models.bind(self.maker)
        if self.telemetry is not None:
            self.telemetry.bind(self.maker, self._recorder.models)
        self._is_priced = False
        if price is not None:
            self._start(price)
        else:
            self.maker.standby = "no_mark"
        self._data_alarm = DataAlarm(contract.id, config.live.data_alarm_s, _say)
        self._balance = config.venue.starting_balance
        self.venue: PaperVenue | None = None
        self.failure: Exception | None = None

    def now(self) -> int:
        """The market's time, ns."""
        return self._now() if self._now is not None else time.time_ns()

    def _start(self, price: float) -> None:
        """A price is known: what fees cost in ticks follows, and quoting may begin."""
        self._is_priced = True
        self._break_even = self._schedule.break_even_ticks(price)
        if isinstance(self._quoter, CmmQuoter):
            self._quoter.charge(self._break_even)
        self.maker.standby = ""
        self._recorder.journal = self._new_journal(self._predictor, self._plan.artifact)

    def _new_journal(self, predictor: Predictor | None, folder: Path | None) -> Journal | None:
        """A journal of decisions made with an artifact."""
        path = self._journal_path
        if path is None:
            return None
        plan = msgspec.structs.replace(self._plan, artifact=folder)
        header = header_of(plan, self.contract, predictor, self._break_even, self._span[0])
        self._journals += 1
        return Journal(path.with_stem(f"{path.stem}-{self._journals}") if self._journals > 1 else path, header)

    def _promoted(self, predictor: Predictor, who: lineups.Member, journal: Journal | None) -> None:
        """Another artifact trades from the next update on."""
        if self._recorder.journal is not None:
            self._recorder.journal.close()
        self._recorder.journal = journal
        if self.telemetry is not None:
            self.telemetry.adopt(predictor, Path(who.path))

    def _tap(self, event: Any) -> None:
        self.on_event(event)
        if not self._is_priced:
            bid, ask = self._simulated.book.best(BID), self._simulated.book.best(ASK)
            if 0 < bid < ask:
                self._start(0.5 * (bid + ask))

    def on_event(self, event: Any) -> None:
        """The market moves."""
        assert self.venue is not None
        self.venue.on_event(event)
        if self.venue.failure is not None:
            raise self.venue.failure

    def make_venue(self, **client: Any) -> PaperVenue:
        """For Nautilus: the execution client."""
        self.venue = PaperVenue(
            self._simulated, self._path, self.contract, self._schedule, self._balance, self.now, self._now is None,
            **client,
        )  # fmt: skip
        return self.venue

    def taken(self) -> int:
        """Events of the market that the maker has taken."""
        if self.maker.failure is not None:
            raise self.maker.failure
        return self.maker.counts["book_updates"] + self.maker.counts["trades"]

    def is_settled(self) -> bool:
        """Whether venue and maker have heard all that they sent each other."""
        assert self.venue is not None
        return self.maker.commands_sent <= self.venue.received and self.venue.told <= self.maker.answers

    def _upkeep(self) -> None:
        if self._recorder.models is not None and self._is_priced:
            self._recorder.models.upkeep()
        if not self.maker.halted:
            now = self.now()
            self._data_alarm.look(self.maker.problem if self.maker.is_open(now) else "", now, now)
        if self.telemetry is not None:
            if not self.maker.halted and self.telemetry.asks_to_halt():
                self.maker.halt("operator")
            self.telemetry.publish("trading")

    def close(self) -> None:
        """Close the journal, send a last frame."""
        if self._recorder.journal is not None:
            self._recorder.journal.close()
        if self.telemetry is not None:
            self.telemetry.close("stopped")
        if self._recorder.models is not None:
            self._recorder.models.close()

    def episode(self, date: dt.date, wall_s: float) -> Episode:
        """What the run left."""
        assert self.venue is not None
        mid = float(self.tape.mids[-1]) if len(self.tape.ts_ns) else 0.0
        counts = {**self.maker.counts, **self._simulated.counts, "locked_lots": self._schedule.locked_lots}
        return Episode(date, self.contract, self.tape, self.venue.ledger.equity(mid), counts, wall_s)


def _say(kind: str, text: str) -> None:
    print(f"ALARM {kind}: {text}", file=sys.stderr, flush=True)


@collected
def replay_day(
    catalog: Catalog, day: Day, plan: Plan, speed: float, journal: Path | None, progress: Progress | None = None
) -> Episode:
    """Trade a recorded day in a live node, `speed` times as fast as it was (0: as fast as it goes)."""
    contract = catalog.contract(day)
    queue = plan.queue or calibration.resolve(catalog, day.instrument, day.date, plan.config.venue.queue)[0]
    clock = ReplayClock(day.start_ns, speed)
    span = max(day.end_ns - day.start_ns, 1)
    paper = Paper(
        plan, contract, queue, day, (day.start_ns, day.end_ns), first_price(catalog, day), clock.now, journal,
    )  # fmt: skip
    stopper = Stopper()

    ended: list[bool] = []

    def done(error: Exception | None) -> None:
        paper.failure = error
        ended.append(True)
        stopper.stop()

    def make_replay(*, name: str, config: Any, cache: Any, clock: Any) -> Replay:
        return Replay(
            catalog, day, replay_clock, paper.on_event, lambda _: paper.maker.check(), paper.is_settled, paper.taken,
            done, (lambda ts: progress(day.date, (ts - day.start_ns) / span)) if progress else (lambda _: None),
            name=name, config=config, cache=cache, clock=clock,
        )  # fmt: skip

    replay_clock = clock
    builder = make_builder(live=False)
    builder = builder.add_data_client(contract.exchange, data_factory(make_replay), ReplayConfig())
    builder = builder.add_exec_client(contract.exchange, execution_factory(paper.make_venue), PaperConfig())
    started = time.perf_counter()
    _run(builder.build(), paper, stopper)
    if not ended:  # part of a day must not pass for a day
        raise KeyboardInterrupt
    return paper.episode(day.date, time.perf_counter() - started)


@collected
def trade_public(
    plan: Plan, contract: Contract, queue: QueueConfig, venue: str, journal: Path | None, minutes: float
) -> Episode:
    """Trade on a venue's public data at the paper venue until stopped."""
    now = time.time_ns()
    paper = Paper(plan, contract, queue, None, (now, now + _YEAR_NS), None, None, journal)
    stopper = Stopper(minutes * 60 if minutes else None)
    builder = make_builder(live=False)
    builder = add_public_data(builder, venue, getattr(plan.config.adapters, venue), contract.id)
    builder = builder.add_exec_client(contract.exchange, execution_factory(paper.make_venue), PaperConfig())
    started = time.perf_counter()
    _run(builder.build(), paper, stopper)
    return paper.episode(dt.datetime.now(dt.UTC).date(), time.perf_counter() - started)


def _run(node: LiveNode, paper: Paper, stopper: Stopper) -> None:
    """Run a node until it is stopped; raise what failed in it."""
    node.add_strategy(paper.maker)
    try:
        with stopper.watch(node):
            node.run()
    finally:
        paper.close()
    failure = paper.maker.failure or paper.failure or (paper.venue.failure if paper.venue is not None else None)
    if failure is not None:
        raise failure

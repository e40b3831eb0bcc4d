"""`cmm paper`: the maker in a live node, on a replayed recording or on public data, at the paper exchange."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.live import LiveNode
from nautilus_trader.model import OrderBookDeltas, TradeTick

from engine.assembly import build_maker, make_exchange, make_predictor
from engine.backtest.episode import Episode
from engine.backtest.run_recorder import RunRecorder
from engine.disposal import collected
from engine.live.deployment import deployment as deployments
from engine.live.deployment.model_manager import ModelManager
from engine.live.records.journal import Header, Journal, JournalKeeper, header_of
from engine.live.records.order_log import OrderLog, beside
from engine.live.records.recording import TraderRecording
from engine.live.safety.data_alarm import DataAlarm
from engine.live.telemetry import Telemetry, about_of
from engine.live.trading.node import Stopper, data_factory, execution_factory, make_builder
from engine.plan import Plan, TradingPlan, plan_day, plan_public
from market.contracts import Contract
from market.errors import ConfigError
from market.events import ASK, BID
from market.nautilus import Instrument
from models.ensemble.predictor import Predictor
from strategies.clock import ReplayedClock, WallClock
from strategies.fill_policy import ExactFills, VenueFills
from strategies.observer import Observers
from strategies.subscription import LiveSubscription, RecordedSubscription
from strategies.trading_state import Reason
from strategies.wiring import Ports, Timer
from venues.gateway import DirectGateway
from venues.live.adapters import add_public_data
from venues.recordings.catalog import Catalog, Day
from venues.recordings.replay import Replay, ReplayClock, ReplayConfig
from venues.simulation.paper import PaperClientConfig, PaperExchange, PaperGateway
from venues.simulation.queues import QueueConfig

type Progress = Callable[[dt.date, float], None]


class Paper:
    """Maker and paper exchange of one instrument, ready to be put into a node.

    Parameters
    ----------
    plan : TradingPlan
        Without a price nothing is quoted before the first book.
    clock : ReplayClock or None
        Of a replay; None trades live data.
    journal : Path or None
        Journals of decisions and the deployment of models lie there.
    recording : TraderRecording, optional
        Of live data.

    """

    def __init__(
        self,
        plan: TradingPlan,
        clock: ReplayClock | None,
        journal: Path | None,
        recording: TraderRecording | None = None,
    ) -> None:
        config = plan.config
        if config.model.recalibrate.enabled:
            raise ConfigError("model.recalibrate.enabled: recalibration works in backtests only so far; switch it off")
        if plan.queue is None or plan.queue.model == "nautilus":
            raise ConfigError("venue.queue.model nautilus: the paper venue does not host it; use calibrated")
        deployment = None
        if journal is not None:
            run, deployment = deployments.begin(journal.parent, plan.run)
            plan = msgspec.structs.replace(plan, run=run)
        self.plan, self._clock, self._journal_path = plan, clock, journal
        self._exchange = make_exchange(plan)
        self._predictor = make_predictor(plan.run)
        self.recorder = RunRecorder()
        self._journals, self._journals_opened = JournalKeeper(), 0
        observers = Observers([self.recorder, self._journals])
        self._order_log: OrderLog | None = None
        if journal is not None:
            self._order_log = OrderLog(beside(journal), self._header(self._predictor, plan.run.artifact), self.now)
            observers.add(self._order_log)
        self._recording = recording
        if recording is not None:
            observers.add(recording)
        self.telemetry: Telemetry | None = None
        if config.monitor.enabled:
            about = about_of(config, plan.contract, self._predictor, "paper", plan.run.quoter, plan.run.artifact)
            self.telemetry = Telemetry(config, about, plan.contract, self._predictor)
            observers.add(self.telemetry)
        self.maker = build_maker(plan, self._predictor, self._ports(observers))
        self._models: ModelManager | None = None
        if self._predictor is not None and deployment is not None and journal is not None:
            self._models = ModelManager(
                journal.parent, config, deployment, self._predictor, plan.contract.id,
                lambda one, who: self._new_journal(one, Path(who.path)),
                lambda key: journal.with_name(f"shadow-{key}-{time.time_ns() // 10**6}.jsonl"),
                self._promoted, _say,
            )  # fmt: skip
            self._models.bind(self.maker)
            observers.add(self._models)
        if self.telemetry is not None:
            self.telemetry.bind(self.maker, self._models)
        if recording is not None:
            recording.bind(self.maker.shown)
        if plan.price_ticks is not None:
            self._journals.change(self._new_journal(self._predictor, plan.run.artifact))
        else:
            self.maker.pause_quoting(Reason.NO_MARK)
        self._data_alarm = DataAlarm(plan.contract.id, config.live.data_alarm_s, _say)
        self.client: PaperExchange | None = None
        self.failure: Exception | None = None

    def _ports(self, observers: Observers) -> Ports:
        instrument = Instrument(self.plan.contract, self.plan.depth)
        timer = Timer(round(self.plan.config.monitor.every_ms * 1e6), self._on_timer)
        if self._clock is not None:
            replayed = ReplayedClock(self._clock.now)
            data = RecordedSubscription()
            return Ports(DirectGateway(instrument), replayed, ExactFills(), data, observers, timer)
        gateway = PaperGateway(instrument, self._on_live_event)
        return Ports(gateway, WallClock(), VenueFills(), LiveSubscription(), observers, timer)

    def now(self) -> int:
        """The market's time, ns."""
        return self._clock.now() if self._clock is not None else time.time_ns()

    def _new_journal(self, predictor: Predictor | None, folder: Path | None) -> Journal | None:
        """A journal of decisions made with an artifact."""
        path = self._journal_path
        if path is None:
            return None
        self._journals_opened += 1
        count = self._journals_opened
        return Journal(path.with_stem(f"{path.stem}-{count}") if count > 1 else path, self._header(predictor, folder))

    def _header(self, predictor: Predictor | None, folder: Path | None) -> Header:
        run = msgspec.structs.replace(self.plan.run, artifact=folder)
        return header_of(run, self.plan.contract, predictor, self.plan.break_even_ticks, self.plan.span[0])

    def _promoted(self, predictor: Predictor, who: deployments.ModelReference, journal: Journal | None) -> None:
        """Another artifact trades from the next update on."""
        self._journals.change(journal)
        if self.telemetry is not None:
            self.telemetry.adopt(predictor, Path(who.path))

    # ── the market ────────────────────────────────────────────────────────────────────────────

    def on_event(self, event: TradeTick | OrderBookDeltas) -> None:
        """The market moves: the exchange sees it before the maker does."""
        assert self.client is not None
        self.client.on_event(event)
        if self.client.failure is not None:
            raise self.client.failure

    def _on_live_event(self, event: TradeTick | OrderBookDeltas) -> None:
        self.on_event(event)
        if self.plan.price_ticks is None:
            bid, ask = self._exchange.book.best(BID), self._exchange.book.best(ASK)
            if 0 < bid < ask:
                self._price_known(0.5 * (bid + ask))

    def _price_known(self, price_ticks: float) -> None:
        """What fees cost in ticks follows from a price, and quoting may begin."""
        self.plan = msgspec.structs.replace(self.plan, price_ticks=price_ticks)
        self.maker.know_costs(self.plan.break_even_ticks)
        self.maker.resume_quoting()
        self._journals.change(self._new_journal(self._predictor, self.plan.run.artifact))

    # ── the node ──────────────────────────────────────────────────────────────────────────────

    def make_client(self, **client: Any) -> PaperExchange:
        """For Nautilus: the execution client."""
        self.client = PaperExchange(
            self._exchange, self.plan.contract, self.plan.config.venue.starting_balance, self.now,
            is_paced=self._clock is None, **client,
        )  # fmt: skip
        return self.client

    def taken(self) -> int:
        """Events of the market that the maker has taken."""
        if self.maker.failure is not None:
            raise self.maker.failure
        return self.maker.counts["book_updates"] + self.maker.counts["trades"]

    def is_settled(self) -> bool:
        """Whether exchange and maker have heard all that they sent each other."""
        assert self.client is not None
        return self.maker.commands_sent <= self.client.received and self.client.told <= self.maker.orders.answers

    def _on_timer(self) -> None:
        if self._recording is not None:
            self._recording.by_timer()
        if self._models is not None and self.plan.price_ticks is not None:
            self._models.by_timer()
        if not self.maker.trading.is_over:
            now = self.now()
            self._data_alarm.look(self.maker.problem if self.maker.is_open(now) else "", now, now)
        if self.telemetry is not None:
            if not self.maker.trading.is_over and self.telemetry.asks_to_halt():
                self.maker.halt(Reason.OPERATOR)
            self.telemetry.publish("trading")

    def close(self) -> None:
        """Close the journal, send a last frame."""
        self._journals.close()
        if self._order_log is not None:
            self._order_log.close()
        if self.telemetry is not None:
            self.telemetry.close("stopped")
        if self._models is not None:
            self._models.close()

    def episode(self, date: dt.date, wall_s: float) -> Episode:
        """What the run left."""
        assert self.client is not None
        net = self.client.ledger.equity(self.recorder.last_mid)
        counts = {**self.maker.counts, **self._exchange.counts}
        return Episode(date, self.plan.contract, self.recorder, net, counts, wall_s)


def _say(kind: str, text: str) -> None:
    print(f"ALARM {kind}: {text}", file=sys.stderr, flush=True)


@collected
def replay_day(
    catalog: Catalog, day: Day, run: Plan, speed: float, journal: Path | None, progress: Progress | None = None
) -> Episode:
    """Trade a recorded day in a live node, `speed` times as fast as it was (0: as fast as it goes)."""
    replayed = ReplayClock(day.start_ns, speed)
    span = max(day.end_ns - day.start_ns, 1)
    paper = Paper(plan_day(run, catalog, day), replayed, journal)
    exchange = paper.plan.contract.exchange
    stopper = Stopper()

    ended: list[bool] = []

    def done(error: Exception | None) -> None:
        paper.failure = error
        ended.append(True)
        stopper.stop()

    def make_replay(*, name: str, config: Any, cache: Any, clock: Any) -> Replay:
        return Replay(
            catalog, day, replayed, paper.on_event, lambda _: paper.maker.check(), paper.is_settled, paper.taken,
            done, (lambda ts: progress(day.date, (ts - day.start_ns) / span)) if progress else (lambda _: None),
            name=name, config=config, cache=cache, clock=clock,
        )  # fmt: skip

    builder = make_builder(live=False)
    builder = builder.add_data_client(exchange, data_factory(make_replay), ReplayConfig())
    builder = builder.add_exec_client(exchange, execution_factory(paper.make_client), PaperClientConfig())
    started = time.perf_counter()
    _run(builder.build(), paper, stopper)
    if not ended:  # part of a day must not pass for a day
        raise KeyboardInterrupt
    return paper.episode(day.date, time.perf_counter() - started)


@collected
def trade_public(run: Plan, contract: Contract, queue: QueueConfig, venue: str, folder: Path) -> Episode:
    """Trade on a venue's public data at the paper venue until stopped; journal and recording go into the folder."""
    config = run.config
    plan = plan_public(run, contract, queue, time.time_ns())
    journal = folder / "journal.jsonl" if config.paper.journal else None
    if not config.live.record:
        return _trade_public(Paper(plan, None, journal), venue)
    recording = TraderRecording(config.capture, folder, contract, plan.depth, "paper", _say)
    try:
        return _trade_public(Paper(plan, None, journal, recording), venue)
    finally:
        recording.close()


def _trade_public(paper: Paper, venue: str) -> Episode:
    config, contract = paper.plan.config, paper.plan.contract
    stopper = Stopper(config.paper.minutes * 60 if config.paper.minutes else None)
    builder = make_builder(live=False)
    builder = add_public_data(builder, venue, getattr(config.adapters, venue), contract.id)
    builder = builder.add_exec_client(contract.exchange, execution_factory(paper.make_client), PaperClientConfig())
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
    failure = paper.maker.failure or paper.failure or (paper.client.failure if paper.client is not None else None)
    if failure is not None:
        raise failure

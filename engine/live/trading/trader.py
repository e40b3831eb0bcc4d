"""The trader: one instrument's maker with its store, journal, heartbeat and alarms, as Nautilus' live node runs it."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import msgspec

from engine.assembly import build_maker
from engine.live.deployment.deployment import Deployment, ModelReference
from engine.live.deployment.model_manager import ModelManager
from engine.live.records.journal import Header, Journal, JournalKeeper, header_of
from engine.live.records.order_log import OrderLog
from engine.live.records.recording import TraderRecording
from engine.live.records.store import DayState, Store
from engine.live.safety.alarms import Alarms
from engine.live.safety.data_alarm import DataAlarm
from engine.live.safety.state import Heartbeat, StateFolder
from engine.live.telemetry import Telemetry, about_of
from engine.live.trading.node import Stopper
from engine.plan import TradingPlan
from market.ledger import Ledger
from market.nautilus import Instrument
from market.sessions import SessionClock
from models.ensemble import artifact
from models.ensemble.predictor import Predictor
from strategies.clock import WallClock
from strategies.fill_policy import VenueFills
from strategies.limits import AccountExposure
from strategies.observer import Observer, Observers, OwnFill
from strategies.subscription import LiveSubscription
from strategies.trading_state import Reason
from strategies.wiring import Ports, Timer
from venues.gateway import DirectGateway

_ARTIFACT_EVERY = 40  # beats between looks at the artifact's files
_STATE_EVERY = 4
_GIVE_UP_NS = 1_500_000_000


class Trader(Observer):
    """One instrument's trader: maker, store, journal, heartbeat.

    Parameters
    ----------
    plan : TradingPlan
        With the artifact that is to trade.
    state : StateFolder
        Taken.
    predictor : Predictor or None
        Of the artifact.
    deployment : Deployment, optional
        Which artifacts trade and run in the shadow; with a predictor.

    """

    def __init__(
        self,
        plan: TradingPlan,
        state: StateFolder,
        predictor: Predictor | None,
        deployment: Deployment | None = None,
    ) -> None:
        config, contract = plan.config, plan.contract
        self.config, self.contract, self.state = config, contract, state
        self.store = Store(state.path / "store.sqlite", contract)
        self.alarms = Alarms(state.path / "alarms.jsonl", config.live.webhook, "trader")
        self.stopper = Stopper()
        self.reason = ""
        self.phase = "starting"
        self._data_alarm = DataAlarm(contract.id, config.live.data_alarm_s, self.alarms.raise_)
        self._artifact = plan.run.artifact
        self._stamps = self._stamp()
        self._predictor, self._plan = predictor, plan
        self._sessions = SessionClock(contract.sessions)
        self._beats = self._fills = self._stopping_since = 0
        self._warned = False
        self._day = self.store.day()
        if self._day is not None and self._day.date != str(self._sessions.trading_day(time.time_ns())):
            self._day = None
        self.journals = JournalKeeper()
        journal = self._new_journal(predictor, plan.run.artifact)
        self.journals.change(journal)
        self.telemetry: Telemetry | None = None
        self.models: ModelManager | None = None
        self.recording: TraderRecording | None = None
        observers = Observers([self, self.journals])
        self.order_log: OrderLog | None = None
        if journal is not None:
            path = state.path / "orders" / journal.path.name
            self.order_log = OrderLog(path, self._header(predictor, plan.run.artifact), time.time_ns)
            observers.add(self.order_log)
        if config.live.record:
            self.recording = TraderRecording(
                config.capture, state.path, contract, plan.depth, "live", self.alarms.raise_
            )
            observers.add(self.recording)
        if config.monitor.enabled:
            about = about_of(config, contract, predictor, "live", plan.run.quoter, plan.run.artifact, state.path)
            self.telemetry = Telemetry(config, about, contract, predictor)
            observers.add(self.telemetry)
        gateway = DirectGateway(Instrument(contract, plan.depth))
        timer = Timer(round(config.live.heartbeat_s * 1e9), self.beat_and_look)
        ports = Ports(gateway, WallClock(), VenueFills(), LiveSubscription(), observers, timer)
        self.maker = build_maker(plan, predictor, ports, ledger=self._ledger())
        if predictor is not None and deployment is not None:
            self.models = ModelManager(
                state.path, config, deployment, predictor, contract.id,
                lambda one, who: self._new_journal(one, Path(who.path)),
                (lambda key: state.path / "shadow" / f"{_stamp_now()}-{key}.jsonl") if config.live.journal else None,
                self._promoted, self.alarms.raise_,
            )  # fmt: skip
            self.models.bind(self.maker)
            observers.add(self.models)
        if self.telemetry is not None:
            self.telemetry.bind(self.maker, self.models)
        if self.recording is not None:
            self.recording.bind(self.maker.shown)
        if self._day is not None:
            self.maker.money.peak = self._day.peak
        else:
            self.maker.pause_quoting(Reason.NO_MARK)  # the day's PnL counts from the first mid

    def _ledger(self) -> Ledger:
        """Position and money as the store knows them."""
        totals = self.store.totals()
        position = totals.position + int(self.store.get("start_position") or 0)
        base = self._day.base if self._day is not None else 0.0
        return Ledger(self.contract.mark_value, position, float(totals.flow), base)

    # ── the maker's observer ──────────────────────────────────────────────────────────────────

    def on_fill(self, fill: OwnFill) -> None:
        self._fills += 1
        self.store.add(
            fill.trade_id, fill.order_id, fill.ts_ns, fill.side, fill.price, fill.lots, fill.is_maker, fill.commission
        )

    def on_halt(self, reason: Reason) -> None:
        self.stop_for(reason)

    # ── by the timer, on the trading thread ─────────────────────────────────────────────────────────

    def beat_and_look(self) -> None:
        """Say that trading lives, and look whether anything asks it to stop."""
        self._beats += 1
        if self.phase == "starting":
            self.phase = "trading"
            self.stopper.listen_again()
        self._look_around()
        if self._beats % _STATE_EVERY == 0:
            self._keep_day()
        if self._beats % _ARTIFACT_EVERY == 0 and self._stamp() != self._stamps:
            self._check_artifact()
        if self.models is not None:
            self.models.by_timer()
        if self.recording is not None:
            self.recording.by_timer()
        self.beat()
        if self.telemetry is not None:
            self.telemetry.publish(self.phase)
        if self.maker.trading.is_over:
            self._wind_down()

    def _look_around(self) -> None:
        maker, live = self.maker, self.config.live
        if maker.trading.is_over:
            return
        latched, request = self.state.latched(), self.state.stop_request()
        if latched is not None:
            maker.halt(Reason.read(latched.reason))
        elif request is not None:
            maker.halt(Reason.read(request.reason))
        elif self.stopper.asked.is_set():
            maker.halt(Reason.SIGNAL)
        else:
            beat = self.state.watchdog()
            silence = (time.monotonic_ns() - beat.mono_ns) / 1e9 if beat is not None else float("inf")
            if silence > live.heartbeat_timeout_s:
                maker.halt(Reason.WATCHDOG_LOST)
                return
            assert beat is not None
            gross, net = (float("nan") if value is None else value for value in (beat.others_gross, beat.others_net))
            maker.know_account(AccountExposure("balance" if beat.others_gross is None else "", gross, net))
        now = time.time_ns()
        self._data_alarm.look(maker.problem if maker.is_open(now) else "", time.monotonic_ns(), now)
        if maker.money.warns and not self._warned:
            self._warned = True
            self.alarms.raise_("budget", f"{100 * maker.money.used:.0f}% of the day's loss limits are used")

    def _keep_day(self) -> None:
        maker, mid = self.maker, self.maker.mid_ticks
        if mid is None:
            return
        date = str(self._sessions.trading_day(time.time_ns()))
        if self._day is None or self._day.date != date:
            maker.begin_day(mid)
            self._day = DayState(date, maker.ledger.base, 0.0)
            self._warned = False
            self.store.put_day(self._day)
            maker.resume_quoting()
        elif maker.money.peak != self._day.peak:
            self._day.peak = maker.money.peak
            self.store.put_day(self._day)

    def _new_journal(self, predictor: Predictor | None, folder: Path | None) -> Journal | None:
        """A journal of decisions made with an artifact."""
        if not self.config.live.journal:
            return None
        path = self.state.path / "journal" / f"{_stamp_now()}-{os.getpid()}.jsonl"
        return Journal(path, self._header(predictor, folder))

    def _header(self, predictor: Predictor | None, folder: Path | None) -> Header:
        run = msgspec.structs.replace(self._plan.run, artifact=folder)
        return header_of(run, self.contract, predictor, self._plan.break_even_ticks, time.time_ns())

    def _promoted(self, predictor: Predictor, who: ModelReference, journal: Journal | None) -> None:
        """Another artifact trades from the next update on."""
        self._artifact, self._predictor = Path(who.path), predictor
        self._stamps = self._stamp()
        self.journals.change(journal)
        if self.telemetry is not None:
            self.telemetry.adopt(predictor, Path(who.path))

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        """What tells that the artifact's files were touched."""
        if self._artifact is None:
            return ()
        try:
            found = [p.stat() for p in sorted(self._artifact.iterdir())]
        except OSError:
            return ((0, 0, 0),)
        return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in found)

    def _check_artifact(self) -> None:
        assert self._artifact is not None and self._predictor is not None
        try:
            same = artifact.read(self._artifact).hash == self._predictor.manifest.hash
        except Exception:
            same = False
        if same:
            self._stamps = self._stamp()
        elif self.maker.distrust_model("artifact_changed"):
            self.alarms.raise_("model", f"{self._artifact}: changed while trading with it")

    def beat(self) -> None:
        """Write the heartbeat."""
        maker = self.maker
        orders = maker.orders.working.all()
        self.state.beat(
            Heartbeat(
                os.getpid(), time.monotonic_ns(), self._beats, self.phase, maker.position, self._fills,
                [str(order.key) for order in orders],
                maker.trading.halted, maker.problem, maker.model_fault,
                maker.ledger.pnl(maker.mid_ticks) if maker.mid_ticks is not None else 0.0, maker.mid_ticks,
                maker.money.used, maker.commands_sent,
            )
        )  # fmt: skip

    def _wind_down(self) -> None:
        """Leave when all is cancelled, or when the venue does not answer: the account client does the rest."""
        now = time.monotonic_ns()
        self._stopping_since = self._stopping_since or now
        if not len(self.maker.orders.working) or now - self._stopping_since > _GIVE_UP_NS:
            self.phase = "stopping"
            self.beat()
            self.stopper.stop()

    def stop_for(self, reason: Reason) -> None:
        """Trading ends: remember why, on disk where a restart must not follow by itself."""
        self.reason = self.reason or reason
        if reason.latches:  # again, where whoever found it has latched already: the first reason stands
            latch(self.state, self.alarms, reason, self.detail())
        if reason is not Reason.SIGNAL:
            self.alarms.raise_("halt", f"{self.contract.id}: {reason}; {self.detail()}")
        if self.maker.failure is not None:
            self.stopper.stop()

    def detail(self) -> str:
        maker = self.maker
        failure = f"; {type(maker.failure).__name__}: {maker.failure}" if maker.failure is not None else ""
        return f"position {maker.position} lots, PnL of the day {self._pnl():.2f}{failure}"

    def _pnl(self) -> float:
        mid = self.maker.mid_ticks
        return self.maker.ledger.pnl(mid) if mid is not None else float("nan")


def latch(state: StateFolder, alarms: Alarms, reason: str, detail: str) -> None:
    """Forbid a new start; where the disk does not take it, cry out."""
    try:
        state.latch(reason, detail, "trader")
    except OSError as error:
        alarms.raise_("unlatched", f"{state.path}: {error.strerror}; do not start again before somebody has looked")


def _stamp_now() -> str:
    """Part of a file's name: to the millisecond, since a journal may follow the last one within a second."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%f}"[:-3]

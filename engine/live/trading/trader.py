"""The trader: one instrument's maker with its store, journal, heartbeat and alarms, as Nautilus' live node runs it."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.backtest.run import Plan, make_instrument, make_quoter
from engine.live.deployment.deployment import Lineup, Member
from engine.live.deployment.model_manager import ModelLife
from engine.live.records.journal import Journal, header_of
from engine.live.records.store import DayState, Store
from engine.live.safety.alarms import Alarms
from engine.live.safety.state import Heartbeat, StateFolder
from engine.live.telemetry import Telemetry, about_of
from engine.live.trading.node import Stopper
from market.contracts import Contract
from market.sessions import SessionClock
from models.ensemble import artifact
from models.ensemble.predictor import Forecast, Predictor
from strategies.decision import Decision, Inputs
from strategies.feed import Feed
from strategies.ledger import Ledger
from strategies.maker import MakerConfig, MarketMaker, OwnFill
from strategies.values import Action, Ladder, Market
from venues.simulation.fees import FeeSchedule, fees_of

LATCHING = frozenset({"loss_budget", "drawdown", "unknown_pnl", "exception"})
"""Reasons of the trader's own that forbid a new start until a person has looked; drift, foreign fills and a
person's halt do so where they are found. Others are faults that a restart may cure."""

_YEAR_NS = 366 * 86_400 * 10**9
_DEPTH = 50
_ARTIFACT_EVERY = 40  # beats between looks at the artifact's files
_STATE_EVERY = 4
_GIVE_UP_NS = 1_500_000_000


class Trader:
    """One instrument's trader: maker, store, journal, heartbeat.

    Parameters
    ----------
    plan : Plan
        With the artifact that is to trade.
    contract : Contract
    state : StateFolder
        Taken.
    predictor : Predictor, optional
        Of the artifact.
    price_ticks : float
        Of the instrument: fees as a fraction of turnover become ticks by it.
    lineup : Lineup, optional
        Which artifacts trade and run in the shadow; with a predictor.

    """

    def __init__(
        self,
        plan: Plan,
        contract: Contract,
        state: StateFolder,
        predictor: Predictor | None,
        price_ticks: float,
        lineup: Lineup | None = None,
    ) -> None:
        config = plan.config
        self.config, self.contract, self.state = config, contract, state
        self.store = Store(state.path / "store.sqlite", contract)
        self.alarms = Alarms(state.path / "alarms.jsonl", config.live.webhook, "trader")
        self.stopper = Stopper()
        self.reason = ""
        self._artifact = plan.artifact
        self._stamps = self._stamp()
        self._predictor = predictor
        fees = fees_of(contract, "exchange", config.fees)
        break_even = FeeSchedule(contract, fees, config.fees).break_even_ticks(price_ticks)
        self._plan, self._break_even = plan, break_even
        self.journal = self._new_journal(predictor, plan.artifact)
        self.telemetry: Telemetry | None = None
        if config.monitor.enabled:
            about = about_of(config, contract, predictor, "live", plan.quoter, plan.artifact, state.path)
            self.telemetry = Telemetry(config, about, contract, predictor)
        self._sessions = SessionClock(contract.sessions)
        totals, now_ns = self.store.totals(), time.time_ns()
        position = totals.position + int(self.store.get("start_position") or 0)
        self._day = self.store.day()
        if self._day is not None and self._day.date != str(self._sessions.trading_day(now_ns)):
            self._day = None
        ledger = Ledger(contract.worth, position, float(totals.flow), self._day.base if self._day is not None else 0.0)
        instrument = make_instrument(contract, _DEPTH)
        adapter = getattr(config.adapters, config.live.venue)
        guard = config.guard
        if guard.data.sequence == "ignore":
            guard = msgspec.structs.replace(guard, data=msgspec.structs.replace(guard.data, sequence=adapter.sequence))
        self.maker = MarketMaker(
            MakerConfig(
                config.strategy.ladder, config.strategy.differ, config.limits, guard,
                config.strategy.stop_before_close_s, self._sessions.closes(now_ns, now_ns + _YEAR_NS),
                contract.worth, contract.turnover, config.live.answer_s, is_live=True,
            ),
            instrument,
            Feed(instrument, predictor.manifest.spec if predictor is not None else config.features),
            make_quoter(plan, break_even),
            predictor,
            self,
            ledger=ledger,
            upkeep=(round(config.live.heartbeat_s * 1e9), self.upkeep),
        )  # fmt: skip
        self.models: ModelLife | None = None
        if predictor is not None and lineup is not None:
            self.models = ModelLife(
                state.path, config, lineup, predictor, contract.id,
                lambda one, who: self._new_journal(one, Path(who.path)),
                (lambda key: state.path / "shadow" / f"{_stamp_now()}-{key}.jsonl") if config.live.journal else None,
                self._promoted, self.alarms.raise_,
            )  # fmt: skip
            self.models.bind(self.maker)
        if self.telemetry is not None:
            self.telemetry.bind(self.maker, self.models)
        if self._day is not None:
            self.maker.money.peak = self._day.peak
        else:
            self.maker.standby = "no_mark"  # the day's PnL counts from the first mid
        self._beats = 0
        self._fills = 0
        self._stopping_since = 0
        self._warned = False
        self.phase = "starting"

    # ── the maker's observer ──────────────────────────────────────────────────────────────────

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        if self.telemetry is not None:
            self.telemetry.on_update(ts_ns, market, forecast, ladder)
        if self.models is not None:
            self.models.on_update(ts_ns, market, forecast, ladder is not None)

    def on_actions(self, ts_ns: int, actions: list[Action]) -> None:
        """The journal has them."""

    def on_decision(self, wall_ns: int) -> None:
        if self.telemetry is not None:
            self.telemetry.on_decision(wall_ns)

    def on_decided(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        if self.journal is not None:
            self.journal.append(ts_ns, features, inputs, decision)

    def on_fill(self, fill: OwnFill) -> None:
        self._fills += 1
        self.store.add(
            fill.trade_id, fill.order_id, fill.ts_ns, fill.side, fill.price, fill.lots, fill.is_maker, fill.commission
        )
        if self.telemetry is not None:
            self.telemetry.on_fill(fill)

    def on_halt(self, reason: str) -> None:
        self.stop_for(reason)

    # ── upkeep, on the trading thread ─────────────────────────────────────────────────────────

    def upkeep(self) -> None:
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
            self.models.upkeep()
        self.beat()
        if self.telemetry is not None:
            self.telemetry.publish(self.phase)
        if self.maker.halted:
            self._wind_down()

    def _look_around(self) -> None:
        maker, live = self.maker, self.config.live
        if maker.halted:
            return
        latched, request = self.state.latched(), self.state.stop_request()
        if latched is not None:
            maker.halt(latched.reason)
        elif request is not None:
            maker.halt(request.reason)
        elif self.stopper.asked.is_set():
            maker.halt("signal")
        else:
            beat = self.state.watchdog()
            silence = (time.monotonic_ns() - beat.mono_ns) / 1e9 if beat is not None else float("inf")
            if silence > live.heartbeat_timeout_s:
                maker.halt("watchdog_lost")
                return
            assert beat is not None
            maker.facts.unknown = "balance" if beat.others_gross is None else ""
            maker.facts.others_gross = float("nan") if beat.others_gross is None else beat.others_gross
            maker.facts.others_net = float("nan") if beat.others_net is None else beat.others_net
        if maker.money.warns and not self._warned:
            self._warned = True
            self.alarms.raise_("budget", f"{100 * maker.money.used:.0f}% of the day's loss limits are used")

    def _keep_day(self) -> None:
        maker, mid = self.maker, self.maker.mid_ticks
        if mid is None:
            return
        date = str(self._sessions.trading_day(time.time_ns()))
        if self._day is None or self._day.date != date:
            maker.ledger.new_day(mid)
            maker.money.peak = 0.0
            self._day = DayState(date, maker.ledger.base, 0.0)
            self._warned = False
            self.store.put_day(self._day)
            maker.standby = ""
        elif maker.money.peak != self._day.peak:
            self._day.peak = maker.money.peak
            self.store.put_day(self._day)

    def _new_journal(self, predictor: Predictor | None, folder: Path | None) -> Journal | None:
        """A journal of decisions made with an artifact."""
        if not self.config.live.journal:
            return None
        plan = msgspec.structs.replace(self._plan, artifact=folder)
        header = header_of(plan, self.contract, predictor, self._break_even, time.time_ns())
        return Journal(self.state.path / "journal" / f"{_stamp_now()}-{os.getpid()}.jsonl", header)

    def _promoted(self, predictor: Predictor, who: Member, journal: Journal | None) -> None:
        """Another artifact trades from the next update on."""
        self._artifact, self._predictor = Path(who.path), predictor
        self._stamps = self._stamp()
        if self.journal is not None:
            self.journal.close()
        self.journal = journal
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
        elif not self.maker.model_guard.broken:
            self.maker.model_guard.broken = "artifact_changed"
            self.alarms.raise_("model", f"{self._artifact}: changed while trading with it")

    def beat(self) -> None:
        """Write the heartbeat."""
        maker = self.maker
        orders = maker.working.all()
        self.state.beat(
            Heartbeat(
                os.getpid(), time.monotonic_ns(), self._beats, self.phase, maker.position, self._fills,
                [str(order.key) for order in orders],
                maker.halted, maker.problem, maker.model_fault,
                maker.ledger.pnl(maker.mid_ticks) if maker.mid_ticks is not None else 0.0, maker.mid_ticks,
                maker.money.used, maker.commands_sent,
            )
        )  # fmt: skip

    def _wind_down(self) -> None:
        """Leave when all is cancelled, or when the venue does not answer: the account client does the rest."""
        now = time.monotonic_ns()
        self._stopping_since = self._stopping_since or now
        if not len(self.maker.working) or now - self._stopping_since > _GIVE_UP_NS:
            self.phase = "stopping"
            self.beat()
            self.stopper.stop()

    def stop_for(self, reason: str) -> None:
        """Trading ends: remember why, on disk where a restart must not follow by itself."""
        self.reason = self.reason or reason
        if reason in LATCHING:
            latch(self.state, self.alarms, reason, self.detail())
        if reason != "signal":
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

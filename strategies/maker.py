"""The one Nautilus strategy: book update → features → forecast → ladder → the few actions it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from nautilus_trader.model import (
    InstrumentId,
    OrderAccepted,
    OrderBookDeltas,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderModifyRejected,
    OrderRejected,
    OrderUpdated,
    StrategyId,
    TradeTick,
)
from nautilus_trader.trading import Strategy, StrategyConfig

from market.events import ASK, BID
from market.ledger import Ledger
from market.nautilus import Instrument
from models.ensemble.predictor import Forecast, Predictor
from models.features.book_features import TREND_HALF_LIFE
from strategies.callbacks import guarded, purge
from strategies.decision import Decider, Inputs
from strategies.guard import DataGuard, FillGuard, MessageBudget, ModelGuard, MoneyGuard
from strategies.limits import AccountExposure, RiskState
from strategies.order_manager import OrderManager
from strategies.quoters import CmmQuoter
from strategies.quoting_hours import QuotingHours
from strategies.trading_state import Phase, Reason, TradingState
from strategies.values import Ladder, Market
from strategies.warm_up import warm_up
from strategies.wiring import MakerConfig, Ports, Quoting

_PURGE_EVERY = 10


class MarketMaker(Strategy):
    """Quotes a ladder on both sides at each book update.

    Parameters
    ----------
    config : MakerConfig
    instrument : Instrument
    quoting : Quoting
    ports : Ports
    ledger : Ledger, optional
        Position and money at the start.

    """

    def __new__(cls, *args: object, **kwargs: object) -> MarketMaker:
        maker: MarketMaker = super().__new__(cls, StrategyConfig(strategy_id=StrategyId("CMM-001")))  # type: ignore[call-arg]
        return maker

    def __init__(
        self, config: MakerConfig, instrument: Instrument, quoting: Quoting, ports: Ports, ledger: Ledger | None = None
    ) -> None:
        super().__init__(StrategyConfig(strategy_id=StrategyId("CMM-001"), log_events=False, log_commands=False))
        quoter = quoting.quoter
        if quoter.needs_forecast and quoting.predictor is None:
            raise ValueError("this quoter needs a predictor")
        warm_up(quoting.stream.features.spec, instrument.depth, config.guard)
        self.trading = TradingState()
        self.problem = ""
        """What the guard holds against the market data just now."""
        self.model_fault = ""
        """What the guard holds against the model just now."""
        self.counts: Counter[str] = Counter()
        self.ledger = ledger if ledger is not None else Ledger(config.mark_value)
        self.money = MoneyGuard(config.guard.money)
        self._cfg, self._instrument, self._ports, self._observer = config, instrument, ports, ports.observer
        self._id = InstrumentId.from_str(instrument.id)
        self._predictor = quoting.predictor if quoter.needs_forecast else None
        self._recalibrator = self._predictor.recalibrator if self._predictor is not None else None
        self._stream = quoting.stream
        self._features = quoting.stream.features
        if self._predictor is not None:
            self._features.vector = self._predictor.features[0]  # shared: what is computed is what is run
        self._decider = Decider(
            config.ladder, config.differ, config.limits, config.guard.model, quoter, config.mark_value
        )
        self._data_guard = DataGuard(config.guard.data)
        self._model_guard = ModelGuard(config.guard.model)
        self._fill_guard = FillGuard(config.guard.fills)
        self._budget = MessageBudget(config.limits.max_messages_per_s)
        self._account = AccountExposure()
        self._last_trade = 0
        self._hours = QuotingHours(config.sessions, config.stop_before_close_s)
        self._checks = 0
        ports.gateway.attach(self, self._guarded_later)
        self.orders = OrderManager(
            ports.gateway, instrument, self._features.book,
            lambda key: self.cache.order(key),  # noqa: PLW0108 there is no cache before the engine has one
            fills=ports.fills, budget=self._budget, ledger=self.ledger, observer=self._observer, counts=self.counts,
        )  # fmt: skip

    # ── data ──────────────────────────────────────────────────────────────────────────────────

    @guarded
    def on_start(self) -> None:
        self._ports.data.begin(self, self._id)
        self._ports.clock.attach(self.clock, lambda _: self.check())
        timer = self._ports.timer
        if timer is not None:
            self.clock.set_timer_ns("timer", timer.every_ns, None, None, lambda _: self._on_timer())

    @guarded
    def on_trade(self, trade: TradeTick) -> None:
        self._ports.gateway.before_trade(trade)
        self.counts["trades"] += 1
        price, lots, aggressor = self._stream.on_trade(trade)
        self._last_trade = price
        if self._recalibrator is not None:
            self._recalibrator.on_trade(trade.ts_init, price, lots, aggressor)
        self._observer.on_trade(trade)

    @guarded
    def on_book_deltas(self, deltas: OrderBookDeltas) -> None:
        try:
            self._on_update(deltas)
        finally:
            self._observer.on_book(deltas)

    def _on_update(self, deltas: OrderBookDeltas) -> None:
        self.counts["book_updates"] += 1
        ts = deltas.ts_init
        self._ports.gateway.before_book(deltas)
        started = time.perf_counter_ns()
        ready = self._stream.on_deltas(deltas)
        f = self._features
        if self._recalibrator is not None:
            self._recalibrator.on_book(ts, f.bid_ticks, f.ask_ticks, f.is_sound)
        clear = bool(deltas.deltas[0].is_clear)
        self._judged(self._data_guard.on_book(ts, deltas.ts_event, deltas.sequence, clear, f.state))
        reason = self._reason(ts, ready)
        if reason is not None:
            self._pull(reason, ts)
            if f.is_sound:
                self._observer.on_update(ts, self._market(), self.position, None, None)
            return
        market = self._market()
        self._check_money(market.mid_ticks)
        if self.trading.is_over:
            return
        self.trading.quote()
        forecast = self._forecast(ts) if self._predictor is not None else None
        ladder = self._act(market, forecast, ts)
        self._observer.on_decision_time(time.perf_counter_ns() - started)
        self._observer.on_update(ts, market, self.position, forecast, ladder)

    def _judged(self, problem: str) -> None:
        """Take what the guard holds against the data; `data_…` counts how often each problem began."""
        if problem != self.problem:
            self.problem = problem
            if problem not in ("", "recovering"):
                self.counts[f"data_{problem}"] += 1

    def _reason(self, ts_ns: int, ready: bool) -> Reason | None:
        """Why nothing may be quoted now, None where something may."""
        if self.trading.is_over or self.trading.phase is Phase.PAUSED:
            return self.trading.reason
        if self.problem:
            if self._data_guard.needs_snapshot:
                self._ports.data.ask_for_snapshot(self, self._id, self._now())
            return Reason(self.problem)
        if not ready:
            return Reason.NOT_READY
        return None if self.is_open(ts_ns) else Reason.SESSION

    def _now(self) -> int:
        return self._ports.clock.now_ns()

    def _market(self) -> Market:
        f = self._features
        return Market(
            f.bid_ticks, f.ask_ticks, f.sigma_ticks, f.spec.horizon_s, f.trend_ticks(TREND_HALF_LIFE), f.regime
        )

    def is_open(self, ts_ns: int) -> bool:
        """Whether a session is open and does not end too soon to quote in it."""
        return self._hours.contain(ts_ns)

    # ── decision ──────────────────────────────────────────────────────────────────────────────

    def _forecast(self, ts_ns: int) -> Forecast | None:
        assert self._predictor is not None
        asked = time.perf_counter_ns()
        forecast = self._predictor.predict()
        self.model_fault = self._model_guard.fault(forecast, self._ports.clock.took_ns(asked))
        if self.model_fault:
            self.counts[f"model_{self.model_fault}"] += 1
        elif self._recalibrator is not None:
            self._predictor.remember(ts_ns, self._features.regime)
        return forecast

    def _act(self, market: Market, forecast: Forecast | None, ts_ns: int) -> Ladder:
        working, account = self.orders.working, self._account
        exposure = working.exposure
        now = self._now()
        orders = self.orders.touchable()
        risk = RiskState(
            exposure.position, exposure.buys, exposure.sells, exposure.orders, working.standing(), self._last_trade,
            account.others_gross, account.others_net, self._budget.left(now), account.unknown,
        )  # fmt: skip
        inputs = Inputs(
            market, forecast, self.model_fault, self._fill_guard.paused(now),
            [(o.price, o.left) for o in orders.bids], [(o.price, o.left) for o in orders.asks], risk,
        )  # fmt: skip
        decision = self._decider.decide(inputs)
        self._observer.on_decided(ts_ns, self._features.vector, inputs, decision)
        for side, levels in ((BID, decision.ladder.bids), (ASK, decision.ladder.asks)):
            if len(levels):
                self._fill_guard.quoted(side, int(levels[0, 0]))
        if decision.refusals:
            self.counts["limit_bound"] += sum(decision.refusals.values())
            for name, count in decision.refusals.items():
                self.counts[f"bound_{name}"] += count
        self.orders.execute(ts_ns, decision.actions, orders, now)
        return decision.ladder

    def _pull(self, reason: Reason, ts_ns: int | None = None) -> None:
        """Take the quotes away, because of the update of a time where one is at hand."""
        if not self.trading.is_over and self.trading.phase is not Phase.PAUSED:
            self.trading.pull(reason)
        self.orders.pull(reason, self._now(), ts_ns)

    # ── orders ────────────────────────────────────────────────────────────────────────────────

    @guarded
    def on_order_accepted(self, event: OrderAccepted) -> None:
        self.orders.accepted(event)

    @guarded
    def on_order_rejected(self, event: OrderRejected) -> None:
        self.orders.refused(event, "rejected")

    @guarded
    def on_order_denied(self, event: OrderDenied) -> None:
        self.orders.refused(event, "denied")

    @guarded
    def on_order_canceled(self, event: OrderCanceled) -> None:
        self.orders.ended(event)

    @guarded
    def on_order_expired(self, event: OrderExpired) -> None:
        self.orders.ended(event)

    @guarded
    def on_order_updated(self, event: OrderUpdated) -> None:
        self.orders.amended(event)

    @guarded
    def on_order_modify_rejected(self, event: OrderModifyRejected) -> None:
        self.orders.amended(event)

    @guarded
    def on_order_cancel_rejected(self, event: OrderCancelRejected) -> None:
        self.orders.cancel_refused(event)

    @guarded
    def on_order_filled(self, event: OrderFilled) -> None:
        fill = self.orders.filled(event)
        if fill is not None and self._fill_guard.on_fill(fill.side, self._now()):
            self.counts["paused_side"] += 1
            self.orders.pull_side(fill.side, self._now())

    # ── by time ───────────────────────────────────────────────────────────────────────────────

    @guarded
    def _on_timer(self) -> None:
        assert self._ports.timer is not None
        self._ports.timer.call()

    @guarded
    def _guarded_later(self, work: Callable[[], None]) -> None:
        work()

    @guarded
    def check(self) -> None:
        """Once a second: pull quotes when the book went stale or the session ends, look whether the
        features are such as were trained on, for commands without an answer, free memory."""
        now = self._now()
        stale = self._data_guard.on_time(now)
        if stale:
            self._judged(stale)
            self._pull(Reason(stale))
        elif self.trading.reason is not None and (self.trading.is_over or self.trading.phase is Phase.PAUSED):
            self._pull(self.trading.reason)
        elif not self.is_open(now):
            self._pull(Reason.SESSION)
        elif self._predictor is not None and self._features.is_sound:
            outside = int(self._predictor.outside().sum())
            self.counts["range_checks"] += 1
            self.counts["out_of_range"] += outside > 0
            self._model_guard.range_checked(outside)
        if self._features.is_sound:
            self._check_money(self._market().mid_ticks)
        answer_s = self._cfg.answer_s
        if answer_s is not None and self.orders.working.unanswered(now - round(answer_s * 1e9)):
            self.counts["unanswered"] += 1
            self.halt(Reason.UNANSWERED)
        self._checks += 1
        if self._checks % _PURGE_EVERY == 0:
            purge(self)

    def _check_money(self, mid_ticks: float) -> None:
        broken = self.money.check(self.ledger.pnl(mid_ticks))
        if broken and not self.trading.is_over:
            self.halt(Reason(broken))

    # ── commands of whoever runs the maker ────────────────────────────────────────────────────

    def pause_quoting(self, reason: Reason) -> None:
        """Quote nothing until `resume_quoting`."""
        self.trading.pause(reason)

    def resume_quoting(self) -> None:
        """A pause ends: the next update decides."""
        self.trading.resume()

    def halt(self, reason: Reason) -> None:
        """Stop quoting for good: nothing new goes out, everything is cancelled."""
        if self.trading.halt(reason):
            self.counts[f"halted_{reason}"] += 1
            self._observer.on_halt(reason)
        self.orders.pull(reason, self._now())

    def fail(self, error: Exception) -> None:
        """Remember the first failure, pull all orders, stop trading; the runner raises it again."""
        if not self.trading.fail(error):
            return
        self.cancel_all_orders(self._id)
        self._observer.on_halt(Reason.EXCEPTION)
        self.stop()

    def begin_day(self, mid_ticks: float) -> None:
        """A trading day begins: PnL and its highest count from here."""
        self.ledger.new_day(mid_ticks)
        self.money.peak = 0.0

    def know_account(self, account: AccountExposure) -> None:
        """Take what the account holds beyond this instrument."""
        self._account = account

    def know_costs(self, break_even_ticks: float) -> None:
        """Take what a maker's round trip costs; a quoter that looks at costs quotes by it from now on."""
        if isinstance(self._decider.quoter, CmmQuoter):
            self._decider.quoter.charge(break_even_ticks)

    def distrust_model(self, fault: str) -> bool:
        """Use no forecast any more until another artifact is adopted; whether that is new."""
        is_new = not self._model_guard.broken
        self._model_guard.broken = self._model_guard.broken or fault
        return is_new

    def adopt(self, predictor: Predictor) -> None:
        """From the next update on forecast with another artifact; what is quoted stands until then.

        Raises
        ------
        ValueError
            This maker does not forecast, or the artifact's features are others.

        """
        if self._predictor is None or predictor.manifest.spec_hash != self._predictor.manifest.spec_hash:
            raise ValueError("only an artifact of the same features can take over")
        predictor.features[0] = self._features.vector
        self._features.vector = predictor.features[0]
        self._predictor = predictor
        self._model_guard = ModelGuard(self._cfg.guard.model)
        self.model_fault = ""

    # ── questions ─────────────────────────────────────────────────────────────────────────────

    @property
    def failure(self) -> Exception | None:
        """What a callback raised; nothing is done any more since."""
        return self.trading.failure

    @property
    def position(self) -> int:
        """Net position, lots."""
        return self.orders.working.exposure.position

    @property
    def commands_sent(self) -> int:
        """Commands handed to the venue."""
        return self._ports.gateway.sent

    def shown(self, levels: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The book's best levels as (price in ticks, lots), bids and asks, best first."""
        book = self._features.book
        return book.top(BID, levels), book.top(ASK, levels)

    @property
    def mid_ticks(self) -> float | None:
        """Mid price of a sound book."""
        return self._market().mid_ticks if self._features.is_sound else None

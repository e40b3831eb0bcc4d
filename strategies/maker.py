"""The one Nautilus strategy: book update → features → forecast → ladder → the few actions it takes."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np
from nautilus_trader.model import (
    BookType,
    InstrumentId,
    OrderBookDeltas,
    OrderSide,
    Price,
    Quantity,
    StrategyId,
    TradeTick,
)
from nautilus_trader.trading import Strategy, StrategyConfig

from models.predictor import Forecast, Predictor
from strategies.differ import Differ, DifferConfig
from strategies.feed import Feed, Instrument
from strategies.ladder import LadderBuilder, LadderConfig
from strategies.limits import LimitsConfig, admit
from strategies.link import Link
from strategies.quoters import Quoter
from strategies.values import ASK, BID, Action, Kind, Ladder, Market
from strategies.working import Order, State, WorkingOrders

_CHECK_NS = 1_000_000_000
_PURGE_EVERY = 10
_TREND_HALF_LIFE = 2  # index into the half-lives: 10 s by default

type _Command = tuple[Kind, Any, Any]
"""What to do, the order (a new one, or the client id of one), its new total quantity."""


class Observer(Protocol):
    """Whoever records what the maker saw and did; costs nothing where nobody looks."""

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        """After each sound book update."""

    def on_fill(
        self, ts_ns: int, side: int, price: int, lots: int, maker: bool, blind: bool, commission: float
    ) -> None:
        """After each fill of ours."""

    def on_actions(self, ts_ns: int, actions: list[Action]) -> None:
        """After actions went out."""

    def on_decision(self, wall_ns: int) -> None:
        """After a decision: the time this machine took from book update to actions."""


class MakerConfig(msgspec.Struct, frozen=True):
    """How the maker behaves, besides its quoter.

    Parameters
    ----------
    ladder, differ, limits : config
    stop_before_close_s : float
        Quotes are pulled this long before a session ends.
    sessions : list[tuple[int, int]]
        (open, close) in ns; outside them nothing is quoted.
    """

    ladder: LadderConfig
    differ: DifferConfig
    limits: LimitsConfig
    stop_before_close_s: float
    sessions: list[tuple[int, int]]


def guarded[**P](callback: Callable[P, None]) -> Callable[P, None]:
    """Keep a callback's first exception, pull all orders and stop; Nautilus would swallow it."""

    @functools.wraps(callback)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        maker: Any = args[0]
        if maker.failure is not None:
            return
        try:
            callback(*args, **kwargs)
        except Exception as error:
            maker.fail(error)

    return wrapper


class MarketMaker(Strategy):
    """Quotes a ladder on both sides at each book update."""

    def __new__(cls, *args: Any, **kwargs: Any) -> MarketMaker:
        maker: MarketMaker = super().__new__(cls, StrategyConfig(strategy_id=StrategyId("CMM-001")))  # type: ignore[call-arg]
        return maker

    def __init__(
        self,
        config: MakerConfig,
        instrument: Instrument,
        feed: Feed,
        quoter: Quoter,
        predictor: Predictor | None,
        observer: Observer,
        link: Link | None = None,
    ) -> None:
        super().__init__(StrategyConfig(strategy_id=StrategyId("CMM-001"), log_events=False, log_commands=False))
        if quoter.needs_forecast and predictor is None:
            raise ValueError("this quoter needs a predictor")
        self.failure: Exception | None = None
        self.counts: Counter[str] = Counter()
        self._cfg, self._instrument, self._quoter, self._observer = config, instrument, quoter, observer
        self._predictor = predictor if quoter.needs_forecast else None
        self._recalibrator = self._predictor.recalibrator if self._predictor is not None else None
        self._feed = feed
        self._features = self._feed.features
        if self._predictor is not None:
            self._features.vector = self._predictor.features[0]  # shared: what is computed is what is run
        self._builder = LadderBuilder(config.ladder)
        self._differ = Differ(config.differ)
        self._orders = WorkingOrders()
        self._id = InstrumentId.from_str(instrument.id)
        self._last_ts = 0
        self._session = 0
        self._ticks_of_clock = 0
        self._link = link
        self._commands: list[_Command] = []
        self._held: list[Any] = []  # cancels that wait for the end of an interval
        self._alerts = 0

    # ── data ──────────────────────────────────────────────────────────────────────────────────

    @guarded
    def on_start(self) -> None:
        self.subscribe_book_deltas(self._id, BookType.L2_MBP)
        self.subscribe_trades(self._id)
        self.clock.set_timer_ns("check", _CHECK_NS, None, None, self._on_check)

    @guarded
    def on_trade(self, trade: TradeTick) -> None:
        if self._link is not None:
            self._link.delivered()
        self.counts["trades"] += 1
        price, lots, aggressor = self._feed.on_trade(trade)
        if self._recalibrator is not None:
            self._recalibrator.on_trade(trade.ts_init, price, lots, aggressor)

    @guarded
    def on_book_deltas(self, deltas: OrderBookDeltas) -> None:
        self.counts["book_updates"] += 1
        ts = deltas.ts_init
        if self._link is not None:
            self._link.delivered()
        if self._held:
            self._let_go()
        started = time.perf_counter_ns()
        ready = self._feed.on_deltas(deltas)
        self._last_ts = ts
        f = self._features
        if self._recalibrator is not None:
            self._recalibrator.on_book(ts, f.bid_ticks, f.ask_ticks, f.is_sound)
        if not ready or not self._in_session(ts):
            self._pull("not_ready" if not ready else "session")
            if f.is_sound:
                self._observer.on_update(ts, self._market(), self._orders.exposure.position, None, None)
            return
        market = self._market()
        forecast = None
        if self._predictor is not None:
            forecast = self._predictor.predict()
            if forecast is None:
                self._pull("no_forecast")
                self._observer.on_update(ts, market, self._orders.exposure.position, None, None)
                return
            if self._recalibrator is not None:
                self._predictor.remember(ts, f.regime)
        ladder = self._ladder(market, forecast)
        self._act(ladder, market, ts)
        self._observer.on_decision(time.perf_counter_ns() - started)
        self._observer.on_update(ts, market, self._orders.exposure.position, forecast, ladder)

    def _market(self) -> Market:
        f = self._features
        return Market(
            f.bid_ticks, f.ask_ticks, f.sigma_ticks, f.spec.horizon_s, f.trend_ticks(_TREND_HALF_LIFE), f.regime
        )

    def _in_session(self, ts: int) -> bool:
        sessions = self._cfg.sessions
        while self._session < len(sessions) and ts > sessions[self._session][1]:
            self._session += 1
        if self._session == len(sessions):
            return False
        start, end = sessions[self._session]
        return start <= ts < end - round(self._cfg.stop_before_close_s * 1e9)

    # ── decision ──────────────────────────────────────────────────────────────────────────────

    def _ladder(self, market: Market, forecast: Forecast | None) -> Ladder:
        position, limit = self._orders.exposure.position, self._cfg.limits.max_position_lots
        bid, ask = self._quoter.best(market, forecast, position, limit)
        volume = float(np.expm1(min(forecast.log_volume, 30.0))) if forecast is not None else 0.0
        touch = (market.bid_ticks, market.ask_ticks)
        return self._builder.build(bid, ask, touch, max(volume, 0.0), limit - position, limit + position)

    def _act(self, ladder: Ladder, market: Market, ts: int) -> None:
        books = {side: self._orders.touchable(side) for side in (BID, ASK)}
        tolerance = self._differ.tolerance(market.sigma_ticks)
        wanted = []
        for side, levels in ((BID, ladder.bids), (ASK, ladder.asks)):
            wanted += self._differ.side(side, levels, [(o.price, o.left) for o in books[side]], tolerance)
        if not wanted:
            return
        actions, bound = admit(wanted, self._orders.exposure, market.mid_ticks, self._cfg.limits)
        self.counts["limit_bound"] += bound
        for action in actions:
            order = books[action.side][action.order] if action.order >= 0 else None
            self._execute(action, order)
        if actions:
            self._sent(ts, actions)

    def _pull(self, reason: str) -> None:
        """Cancel everything that is not yet being cancelled."""
        actions = []
        for order in self._orders.all():
            if order.state <= State.RESTING:
                action = Action(Kind.CANCEL, order.side, order.price, 0, 0)
                self._execute(action, order)
                actions.append(action)
        if actions:
            self.counts[f"pulled_{reason}"] += 1
            self._sent(self.clock.timestamp_ns(), actions)

    def _execute(self, action: Action, order: Order | None) -> None:
        self.counts[f"action_{action.kind.name.lower()}"] += 1
        if action.kind == Kind.PLACE:
            side = OrderSide.BUY if action.side == BID else OrderSide.SELL
            new = self.order_factory.limit(
                self._id, side, self._quantity(action.size), self._price(action.price), post_only=True
            )
            self._orders.sent(new.client_order_id, action.side, action.price, action.size, self._is_blind(action))
            self._commands.append((action.kind, new, None))
        elif order is not None and action.kind == Kind.AMEND:
            order.state = State.CHANGING
            self._commands.append((action.kind, order.key, self._quantity(order.filled + action.size)))
        elif order is not None:
            order.state = State.CANCELLING
            self._commands.append((action.kind, order.key, None))

    def _is_blind(self, action: Action) -> bool:
        """Whether the feed shows nothing at this price: beyond the levels it can show."""
        depth = self._instrument.depth
        if not depth:
            return False
        worst = self._features.book.worst_shown(action.side, depth)
        if worst is None:
            return not self._features.book.count[action.side - 1]
        return action.price < worst if action.side == BID else action.price > worst

    def _sent(self, ts: int, actions: list[Action]) -> None:
        self._observer.on_actions(ts, actions)
        commands, self._commands = self._commands, []
        now = self.clock.timestamp_ns()
        at = self._link.arrival_ns(now) if self._link is not None else now
        if at <= now:
            self._deliver(commands)
            return
        self._alerts += 1
        self.clock.set_time_alert_ns(f"arrive-{self._alerts}", at, lambda _: self._arrive(commands))

    @guarded
    def _arrive(self, commands: list[_Command]) -> None:
        self._deliver(commands)

    def _deliver(self, commands: list[_Command]) -> None:
        """Commands reach the venue; what has filled on the way is past cancelling."""
        for kind, target, quantity in commands:
            if kind == Kind.PLACE:
                self.submit_order(target)
            elif self._orders.get(target) is None:
                self.counts["too_late"] += 1
            elif kind == Kind.AMEND:
                known = self.cache.order(target)
                if known is not None and known.filled_qty < quantity:
                    self.modify_order(target, quantity=quantity)
                else:  # more has filled than the order was to have at all
                    self._cancel(target)
            else:
                self._cancel(target)

    def _cancel(self, key: Any) -> None:
        if self._link is not None and self._link.snapshots:
            self._link.leaving(key, self.clock.timestamp_ns())
            self._held.append(key)
        else:
            self.cancel_order(key)

    def _let_go(self) -> None:
        """The interval is over: cancels that arrived in it take effect."""
        held, self._held = self._held, []
        for key in held:
            if self._orders.get(key) is not None:
                self.cancel_order(key)

    def _price(self, ticks: int) -> Price:
        return Price.from_raw(ticks * self._instrument.tick_raw, self._instrument.price_precision)

    def _quantity(self, lots: int) -> Quantity:
        return Quantity.from_raw(lots * self._instrument.lot_raw, self._instrument.size_precision)

    # ── orders ────────────────────────────────────────────────────────────────────────────────

    @guarded
    def on_order_accepted(self, event: Any) -> None:
        key = event.client_order_id
        self._orders.accepted(key)
        order = self._orders.get(key)
        if self._link is not None and order is not None:
            self._link.accepted(key, order.side, order.price, order.left, self.clock.timestamp_ns())

    @guarded
    def on_order_rejected(self, event: Any) -> None:
        self.counts["rejected"] += 1
        self._gone(event.client_order_id)

    @guarded
    def on_order_denied(self, event: Any) -> None:
        self.counts["denied"] += 1
        self._gone(event.client_order_id)

    @guarded
    def on_order_canceled(self, event: Any) -> None:
        self._gone(event.client_order_id)

    @guarded
    def on_order_expired(self, event: Any) -> None:
        self._gone(event.client_order_id)

    @guarded
    def on_order_updated(self, event: Any) -> None:
        self._refresh(event.client_order_id)

    @guarded
    def on_order_modify_rejected(self, event: Any) -> None:
        self._refresh(event.client_order_id)

    @guarded
    def on_order_cancel_rejected(self, event: Any) -> None:
        """The order may have filled meanwhile: what holds is its status, not the answer."""
        order = self._orders.get(event.client_order_id)
        known = self.cache.order(event.client_order_id)
        if order is not None and known is not None and known.is_open:
            order.state = State.RESTING
        else:
            self._gone(event.client_order_id)

    @guarded
    def on_order_filled(self, event: Any) -> None:
        lots = event.last_qty.raw // self._instrument.lot_raw
        order = self._orders.filled(event.client_order_id, lots)
        if order is None:
            raise RuntimeError(f"a fill of {lots} lots for an order we do not know: {event.client_order_id}")
        commission = float(event.commission.as_double()) if event.commission is not None else 0.0
        price = event.last_px.raw // self._instrument.tick_raw
        maker = event.liquidity_side.name == "MAKER"
        self.counts["fills"] += 1
        self._observer.on_fill(event.ts_event, order.side, price, lots, maker, order.blind, commission)

    def _refresh(self, key: Any) -> None:
        known = self.cache.order(key)
        if known is not None:
            left = known.leaves_qty.raw // self._instrument.lot_raw if known.is_open else 0
            self._orders.resized(key, left)
            if self._link is not None:
                self._link.resized(key, left)

    def _gone(self, key: Any) -> None:
        self._orders.gone(key)
        if self._link is not None:
            self._link.gone(key)

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────

    def _on_check(self, event: Any) -> None:
        self._check()

    @guarded
    def _check(self) -> None:
        """Once a second: pull quotes when the book went stale or the session ends, look whether the
        features are such as were trained on, free memory."""
        now = self.clock.timestamp_ns()
        if now - self._last_ts > self._features.spec.max_gap_s * 1e9:
            self._pull("stale")
        elif not self._in_session(now):
            self._pull("session")
        elif self._predictor is not None and self._features.is_sound:
            self.counts["range_checks"] += 1
            self.counts["out_of_range"] += self._predictor.outside() > 0
        self._ticks_of_clock += 1
        if self._ticks_of_clock % _PURGE_EVERY == 0:  # memory grows by 7 KB an action otherwise
            self.cache.purge_closed_orders(now, 1)
            self.cache.purge_closed_positions(now, 1)
            self.cache.purge_account_events(now, 1)

    @property
    def position(self) -> int:
        """Net position, lots."""
        return self._orders.exposure.position

    def fail(self, error: Exception) -> None:
        """Remember the first failure, pull all orders, stop trading; the runner raises it again."""
        self.failure = error
        self.cancel_all_orders(self._id)
        self.stop()

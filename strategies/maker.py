"""The one Nautilus strategy: book update → features → forecast → ladder → the few actions it takes."""

from __future__ import annotations

import functools
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

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
from numpy.typing import NDArray

from market.events import ASK, BID
from market.ledger import Ledger
from market.nautilus import Instrument
from models.ensemble.predictor import Forecast, Predictor
from strategies.courier import Command, Courier
from strategies.decision import Decider, Decision, Inputs
from strategies.differ import DifferConfig
from strategies.feature_stream import FeatureStream
from strategies.guard import DataGuard, FillGuard, GuardConfig, MessageBudget, ModelGuard, MoneyGuard
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig, Standing
from strategies.link import Link
from strategies.quoters import Quoter
from strategies.values import Action, Kind, Ladder, Market
from strategies.working import Order, State, WorkingOrders

_CHECK_NS = 1_000_000_000
_PURGE_EVERY = 10
_RESUBSCRIBE_NS = 5_000_000_000
_TRADES_KEPT = 4096
_TREND_HALF_LIFE = 2  # index into the half-lives: 10 s by default


class OwnFill(NamedTuple):
    """One fill of ours; `blind` when its order was placed where the feed showed no queue."""

    ts_ns: int
    side: int
    price: int
    lots: int
    is_maker: bool
    blind: bool
    commission: Decimal
    trade_id: str
    order_id: str


class Observer(Protocol):
    """Whoever records what the maker saw and did; costs nothing where nobody looks."""

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        """After each sound book update."""

    def on_decided(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        """After each decision, before its actions go out; `features` hold until the next update."""

    def on_fill(self, fill: OwnFill) -> None:
        """After each fill of ours."""

    def on_actions(self, ts_ns: int, actions: list[Action]) -> None:
        """After actions went out."""

    def on_decision(self, wall_ns: int) -> None:
        """After a decision: the time this machine took from book update to actions."""

    def on_halt(self, reason: str) -> None:
        """The guard stopped trading for good."""


class MakerConfig(msgspec.Struct, frozen=True):
    """How the maker behaves, besides its quoter.

    Parameters
    ----------
    ladder, differ, limits, guard : config
    stop_before_close_s : float
        Quotes are pulled this long before a session ends.
    sessions : list[tuple[int, int]]
        (open, close) in ns; outside them nothing is quoted.
    worth, turnover : callable
        Value of one lot held long at a price in ticks (up to a constant), and what trading it moves;
        settlement currency.
    answer_s : float, optional
        A command that the venue has not answered for so long stops trading: what became of the order
        is unknown. None in a simulation, where every command is answered.
    is_live : bool
        Whether the wall clock counts: deadlines hold.

    """

    ladder: LadderConfig
    differ: DifferConfig
    limits: LimitsConfig
    guard: GuardConfig
    stop_before_close_s: float
    sessions: list[tuple[int, int]]
    worth: Callable[[float], float] = float
    turnover: Callable[[float], float] = float
    answer_s: float | None = None
    is_live: bool = False


class Facts:
    """What the account says beyond this instrument; whoever knows better writes it here.

    `unknown` names what has to be known before an order goes out and is not: mark, fee or balance.
    """

    def __init__(self) -> None:
        self.unknown = ""
        self.others_gross = 0.0
        self.others_net = 0.0


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
    """Quotes a ladder on both sides at each book update.

    Parameters
    ----------
    config, instrument, feed, quoter, predictor, observer
    link : Link, optional
        To a simulated venue of a backtest.
    ledger : Ledger, optional
        Position and money at the start.
    now : callable, optional
        The time that counts, ns, where it is not Nautilus' clock (a replay). `check` then has to be
        called once a second.
    tap : callable, optional
        Shown each event of the market before it counts (a paper venue on live data).
    upkeep : tuple, optional
        What to call on the trading thread every so many ns: as long as it is called, trading lives.

    """

    def __new__(cls, *args: Any, **kwargs: Any) -> MarketMaker:
        maker: MarketMaker = super().__new__(cls, StrategyConfig(strategy_id=StrategyId("CMM-001")))  # type: ignore[call-arg]
        return maker

    def __init__(
        self,
        config: MakerConfig,
        instrument: Instrument,
        feed: FeatureStream,
        quoter: Quoter,
        predictor: Predictor | None,
        observer: Observer,
        link: Link | None = None,
        ledger: Ledger | None = None,
        now: Callable[[], int] | None = None,
        tap: Callable[[Any], None] | None = None,
        upkeep: tuple[int, Callable[[], None]] | None = None,
    ) -> None:
        super().__init__(StrategyConfig(strategy_id=StrategyId("CMM-001"), log_events=False, log_commands=False))
        if quoter.needs_forecast and predictor is None:
            raise ValueError("this quoter needs a predictor")
        self.failure: Exception | None = None
        self.halted = ""
        """Why nothing is quoted any more, for good."""
        self.standby = ""
        """Why nothing is quoted for now; whoever runs the maker sets and clears it."""
        self.problem = ""
        """What the guard holds against the market data just now."""
        self.model_fault = ""
        """What the guard holds against the model just now."""
        self.answers = 0
        """Events about our orders, as they came in."""
        self.counts: Counter[str] = Counter()
        self.facts = Facts()
        self.ledger = ledger if ledger is not None else Ledger(config.worth)
        self.money = MoneyGuard(config.guard.money)
        self.model_guard = ModelGuard(config.guard.model)
        self.data_guard = DataGuard(config.guard.data)
        self._cfg, self._instrument, self._observer = config, instrument, observer
        self._predictor = predictor if quoter.needs_forecast else None
        self._recalibrator = self._predictor.recalibrator if self._predictor is not None else None
        self._feed = feed
        self._features = self._feed.features
        if self._predictor is not None:
            self._features.vector = self._predictor.features[0]  # shared: what is computed is what is run
        self._decider = Decider(
            config.ladder, config.differ, config.limits, config.guard.model, quoter, config.turnover
        )
        self._fills = FillGuard(config.guard.fills)
        self._budget = MessageBudget(config.limits.max_messages_per_s)
        self._orders = WorkingOrders()
        self._orders.exposure.position = self.ledger.position
        self._id = InstrumentId.from_str(instrument.id)
        self._link, self._now_ns, self._tap, self._upkeep = link, now, tap, upkeep
        self._courier = Courier(self, self._orders, link, self.counts, self.fail)
        self._commands: list[Command] = []
        self._last_trade = 0
        self._trades_seen: dict[str, None] = {}
        self._opens = [start for start, _ in config.sessions]
        self._stops = [end - round(config.stop_before_close_s * 1e9) for _, end in config.sessions]
        self._ticks_of_clock = 0
        self._resubscribed_ns = 0

    # ── data ──────────────────────────────────────────────────────────────────────────────────

    @guarded
    def on_start(self) -> None:
        self.subscribe_book_deltas(self._id, BookType.L2_MBP)
        self.subscribe_trades(self._id)
        if self._now_ns is None:
            self.clock.set_timer_ns("check", _CHECK_NS, None, None, self._on_check)
        if self._upkeep is not None:
            self.clock.set_timer_ns("upkeep", self._upkeep[0], None, None, self._on_upkeep)

    @guarded
    def on_trade(self, trade: TradeTick) -> None:
        if self._link is not None:
            self._link.delivered()
        if self._tap is not None:
            self._tap(trade)
        self.counts["trades"] += 1
        price, lots, aggressor = self._feed.on_trade(trade)
        self._last_trade = price
        if self._recalibrator is not None:
            self._recalibrator.on_trade(trade.ts_init, price, lots, aggressor)

    @guarded
    def on_book_deltas(self, deltas: OrderBookDeltas) -> None:
        self.counts["book_updates"] += 1
        ts = deltas.ts_init
        if self._link is not None:
            self._link.delivered()
            self._courier.interval_ended()
        if self._tap is not None:
            self._tap(deltas)
        started = time.perf_counter_ns()
        ready = self._feed.on_deltas(deltas)
        f = self._features
        if self._recalibrator is not None:
            self._recalibrator.on_book(ts, f.bid_ticks, f.ask_ticks, f.is_sound)
        clear = bool(deltas.deltas[0].is_clear)
        self._judged(self.data_guard.on_book(ts, deltas.ts_event, deltas.sequence, clear, f.state))
        reason = self._reason(ts, ready)
        if reason:
            self._pull(reason)
            if f.is_sound:
                self._observer.on_update(ts, self._market(), self._orders.exposure.position, None, None)
            return
        market = self._market()
        self._check_money(market.mid_ticks)
        if self.halted:
            return
        forecast = None
        if self._predictor is not None:
            asked = time.perf_counter_ns()
            forecast = self._predictor.predict()
            took = time.perf_counter_ns() - asked if self._cfg.is_live else 0
            self.model_fault = self.model_guard.fault(forecast, took)
            if self.model_fault:
                self.counts[f"model_{self.model_fault}"] += 1
            elif self._recalibrator is not None:
                self._predictor.remember(ts, f.regime)
        ladder = self._act(market, forecast, ts)
        self._observer.on_decision(time.perf_counter_ns() - started)
        self._observer.on_update(ts, market, self._orders.exposure.position, forecast, ladder)

    def _judged(self, problem: str) -> None:
        """Take what the guard holds against the data; `data_…` counts how often each problem began."""
        if problem != self.problem:
            self.problem = problem
            if problem not in ("", "recovering"):
                self.counts[f"data_{problem}"] += 1

    def _reason(self, ts: int, ready: bool) -> str:
        """Why nothing may be quoted now, '' where something may."""
        if self.halted or self.standby:
            return self.halted or self.standby
        if self.problem:
            if (
                self._cfg.is_live
                and self.data_guard.needs_snapshot
                and abs(self._now() - self._resubscribed_ns) > _RESUBSCRIBE_NS
            ):
                self._resubscribed_ns = self._now()
                self.unsubscribe_book_deltas(self._id)
                self.subscribe_book_deltas(self._id, BookType.L2_MBP)
            return self.problem
        if not ready:
            return "not_ready"
        return "" if self.is_open(ts) else "session"

    def _now(self) -> int:
        return self._now_ns() if self._now_ns is not None else int(self.clock.timestamp_ns())

    def _market(self) -> Market:
        f = self._features
        return Market(
            f.bid_ticks, f.ask_ticks, f.sigma_ticks, f.spec.horizon_s, f.trend_ticks(_TREND_HALF_LIFE), f.regime
        )

    def is_open(self, ts_ns: int) -> bool:
        """Whether a session is open and does not end too soon to quote in it."""
        last = bisect_right(self._opens, ts_ns) - 1
        return last >= 0 and ts_ns < self._stops[last]

    # ── decision ──────────────────────────────────────────────────────────────────────────────

    def _act(self, market: Market, forecast: Forecast | None, ts: int) -> Ladder:
        orders, exposure, facts = self._orders, self._orders.exposure, self.facts
        now = self._now()
        bids, asks = orders.touchable(BID), orders.touchable(ASK)
        standing = Standing(
            exposure.position, exposure.buys, exposure.sells, exposure.orders, orders.standing(), self._last_trade,
            facts.others_gross, facts.others_net, self._budget.left(now), facts.unknown,
        )  # fmt: skip
        inputs = Inputs(
            market, forecast, self.model_fault, self._fills.paused(now),
            [(o.price, o.left) for o in bids], [(o.price, o.left) for o in asks], standing,
        )  # fmt: skip
        decision = self._decider.decide(inputs)
        self._observer.on_decided(ts, self._features.vector, inputs, decision)
        for side, levels in ((BID, decision.ladder.bids), (ASK, decision.ladder.asks)):
            if len(levels):
                self._fills.quoted(side, int(levels[0, 0]))
        if decision.bound:
            self.counts["limit_bound"] += sum(decision.bound.values())
            for name, count in decision.bound.items():
                self.counts[f"bound_{name}"] += count
        for action in decision.actions:
            books = bids if action.side == BID else asks
            self._execute(action, books[action.order] if action.order >= 0 else None, now)
        if decision.actions:
            self._sent(ts, decision.actions, now)
        return decision.ladder

    def _pull(self, reason: str) -> None:
        """Cancel everything that is not yet being cancelled."""
        actions, now = [], self._now()
        for order in self._orders.all():
            if order.state <= State.RESTING:
                action = Action(Kind.CANCEL, order.side, order.price, 0, 0)
                self._execute(action, order, now)
                actions.append(action)
        if actions:
            self.counts[f"pulled_{reason}"] += 1
            self._sent(now, actions, now)

    def _execute(self, action: Action, order: Order | None, now: int) -> None:
        self.counts[f"action_{action.kind.name.lower()}"] += 1
        if action.kind == Kind.PLACE:
            side = OrderSide.BUY if action.side == BID else OrderSide.SELL
            new = self.order_factory.limit(
                self._id, side, self._quantity(action.size), self._price(action.price), post_only=True
            )
            self._orders.sent(new.client_order_id, action.side, action.price, action.size, self._is_blind(action), now)
            self._commands.append((action.kind, new, None))
        elif order is not None and action.kind == Kind.AMEND:
            order.state, order.since_ns = State.CHANGING, now
            self._commands.append((action.kind, order.key, self._quantity(order.filled + action.size)))
        elif order is not None:
            order.state, order.since_ns = State.CANCELLING, now
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

    def _sent(self, ts: int, actions: list[Action], now: int) -> None:
        self._observer.on_actions(ts, actions)
        self._budget.spend(len(actions))
        commands, self._commands = self._commands, []
        self._courier.send(commands)

    def _price(self, ticks: int) -> Price:
        return Price.from_raw(ticks * self._instrument.tick_raw, self._instrument.price_precision)

    def _quantity(self, lots: int) -> Quantity:
        return Quantity.from_raw(lots * self._instrument.lot_raw, self._instrument.size_precision)

    # ── orders ────────────────────────────────────────────────────────────────────────────────

    @guarded
    def on_order_accepted(self, event: Any) -> None:
        self.answers += 1
        key = event.client_order_id
        self._orders.accepted(key)
        order = self._orders.get(key)
        if self._link is not None and order is not None:
            self._link.accepted(key, order.side, order.price, order.left, self.clock.timestamp_ns())

    @guarded
    def on_order_rejected(self, event: Any) -> None:
        self.answers += 1
        self.counts["rejected"] += 1
        self._gone(event.client_order_id)

    @guarded
    def on_order_denied(self, event: Any) -> None:
        self.answers += 1
        self.counts["denied"] += 1
        self._gone(event.client_order_id)

    @guarded
    def on_order_canceled(self, event: Any) -> None:
        self.answers += 1
        self._gone(event.client_order_id)

    @guarded
    def on_order_expired(self, event: Any) -> None:
        self.answers += 1
        self._gone(event.client_order_id)

    @guarded
    def on_order_updated(self, event: Any) -> None:
        self.answers += 1
        self._refresh(event.client_order_id)

    @guarded
    def on_order_modify_rejected(self, event: Any) -> None:
        self.answers += 1
        self._refresh(event.client_order_id)

    @guarded
    def on_order_cancel_rejected(self, event: Any) -> None:
        """The order may have filled meanwhile: what holds is its status, not the answer."""
        self.answers += 1
        order = self._orders.get(event.client_order_id)
        known = self.cache.order(event.client_order_id)
        if order is None or known is None or known.is_closed:
            self._gone(event.client_order_id)
        else:  # one that is on its way cannot be cancelled yet, and may still come to rest
            order.state = State.RESTING if known.is_open else State.SENT

    @guarded
    def on_order_filled(self, event: Any) -> None:
        self.answers += 1
        lots = event.last_qty.raw // self._instrument.lot_raw
        trade = str(event.trade_id)
        if self._cfg.is_live:
            if trade in self._trades_seen:
                self.counts["repeated_fills"] += 1
                return
            self._trades_seen[trade] = None
            if len(self._trades_seen) > _TRADES_KEPT:
                del self._trades_seen[next(iter(self._trades_seen))]
        order = self._orders.filled(event.client_order_id, lots)
        if order is None:
            if not self._cfg.is_live:
                raise RuntimeError(f"a fill of {lots} lots for an order we do not know: {event.client_order_id}")
            # a real venue's messages may overtake each other: the order's end came before its fill
            self.counts["late_fills"] += 1
            side, blind = (BID if event.order_side == OrderSide.BUY else ASK), False
            self._orders.exposure.position += lots if side == BID else -lots
        else:
            side, blind = order.side, order.blind
        commission = event.commission.as_decimal() if event.commission is not None else Decimal(0)
        price = event.last_px.raw // self._instrument.tick_raw
        maker = event.liquidity_side.name == "MAKER"
        self.counts["fills"] += 1
        self.ledger.on_fill(side, price, lots, float(commission))
        self._observer.on_fill(
            OwnFill(
                event.ts_event,
                side,
                price,
                lots,
                maker,
                blind,
                commission,
                trade,
                str(event.client_order_id),
            )
        )
        if self._fills.on_fill(side, self._now()):
            self.counts["paused_side"] += 1
            self._pull_side(side)

    def _pull_side(self, side: int) -> None:
        """Cancel one side's orders."""
        actions, now = [], self._now()
        for order in self._orders.touchable(side):
            action = Action(Kind.CANCEL, side, order.price, 0, 0)
            self._execute(action, order, now)
            actions.append(action)
        if actions:
            self._sent(now, actions, now)

    def _refresh(self, key: Any) -> None:
        known = self.cache.order(key)
        if known is not None:
            left = 0 if known.is_closed else known.leaves_qty.raw // self._instrument.lot_raw
            self._orders.resized(key, left)
            if self._link is not None:
                self._link.resized(key, left)

    def _gone(self, key: Any) -> None:
        self._orders.gone(key)
        if self._link is not None:
            self._link.gone(key)

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────

    @guarded
    def _on_upkeep(self, event: Any) -> None:
        assert self._upkeep is not None
        self._upkeep[1]()

    def _on_check(self, event: Any) -> None:
        self.check()

    @guarded
    def check(self) -> None:
        """Once a second: pull quotes when the book went stale or the session ends, look whether the
        features are such as were trained on, for commands without an answer, free memory."""
        now = self._now()
        stale = self.data_guard.on_time(now)
        if stale:
            self._judged(stale)
            self._pull(stale)
        elif self.halted or self.standby:
            self._pull(self.halted or self.standby)
        elif not self.is_open(now):
            self._pull("session")
        elif self._predictor is not None and self._features.is_sound:
            outside = int(self._predictor.outside().sum())
            self.counts["range_checks"] += 1
            self.counts["out_of_range"] += outside > 0
            self.model_guard.range_checked(outside)
        if self._features.is_sound:
            self._check_money(self._market().mid_ticks)
        if self._cfg.answer_s is not None and self._orders.unanswered(now - round(self._cfg.answer_s * 1e9)):
            self.counts["unanswered"] += 1
            self.halt("unanswered")
        self._ticks_of_clock += 1
        if self._ticks_of_clock % _PURGE_EVERY == 0:  # memory grows by 7 KB an action otherwise
            wall = self.clock.timestamp_ns()
            self.cache.purge_closed_orders(wall, 1)
            self.cache.purge_closed_positions(wall, 1)
            self.cache.purge_account_events(wall, 1)

    def _check_money(self, mid_ticks: float) -> None:
        broken = self.money.check(self.ledger.pnl(mid_ticks))
        if broken and not self.halted:
            self.halt(broken)

    def halt(self, reason: str) -> None:
        """Stop quoting for good: nothing new goes out, everything is cancelled."""
        if not self.halted:
            self.halted = reason
            self.counts[f"halted_{reason}"] += 1
            self._observer.on_halt(reason)
        self._pull(reason)

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
        self.model_guard = ModelGuard(self._cfg.guard.model)
        self.model_fault = ""

    @property
    def position(self) -> int:
        """Net position, lots."""
        return self._orders.exposure.position

    @property
    def commands_sent(self) -> int:
        """Commands handed to the venue."""
        return self._courier.sent

    @property
    def working(self) -> WorkingOrders:
        """Our orders at the venue."""
        return self._orders

    def shown(self, levels: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The book's best levels as (price in ticks, lots), bids and asks, best first."""
        book = self._features.book
        return book.top(BID, levels), book.top(ASK, levels)

    @property
    def mid_ticks(self) -> float | None:
        """Mid price of a sound book."""
        return self._market().mid_ticks if self._features.is_sound else None

    def fail(self, error: Exception) -> None:
        """Remember the first failure, pull all orders, stop trading; the runner raises it again."""
        self.failure = error
        self.cancel_all_orders(self._id)
        self._observer.on_halt("exception")
        self.stop()

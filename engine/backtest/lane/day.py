"""One day in the fast lane: state made from a plan, run to its end, and read back as a run's record."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from nautilus_trader.model import Currency
from numpy.typing import NDArray

from engine.assembly import make_quoter
from engine.backtest.lane.loop import run
from engine.backtest.lane.state import (
    COMMAND,
    DONE,
    LANE,
    NO_LADDER,
    NO_PRICES,
    Exchange,
    Maker,
    Record,
    make_room,
    new_record,
)
from engine.backtest.run_record import AT_ONCE, Fill, parts
from engine.plan import TradingPlan
from market.columns import BEST_ASK, BEST_BID, BOOK, Columns, release_events
from market.errors import ConfigError
from market.ledger import Ledger, equity
from market.mapped import release
from market.records import state_of
from models.ensemble.market_path import MarketPath
from models.ensemble.predictor import Forecast
from strategies.admission import STANDING, Limit
from strategies.callback_quoter import Asking, asked_by_callback, callback_entry
from strategies.clock import CHECK_NS
from strategies.decision import PLAN, SITUATION, settings_of
from strategies.differ import RESTING
from strategies.guard import budget_state, data_guard_state, fill_guard_state, model_guard_state, money_guard_state
from strategies.guard_rules import STAMP, Fault
from strategies.ladder import MAX_LEVELS
from strategies.order_table import ORDER, TOTALS
from strategies.own_quoter import BY_ADDRESS, NO_ENTRY, Entry, OwnQuoter
from strategies.quoters import QUOTER, Quoter, state_of_quoter
from strategies.quoting_hours import QuotingHours
from strategies.trading_state import REASON_NAMES
from strategies.values import ACTION, Market
from venues.simulation.latency import CommandPath
from venues.simulation.matching import CONSUMED, MATCH
from venues.simulation.queues import PLACE, make_queue

_ROOM = 64  # orders, at first
_LAGS = 4096  # of book updates, at first: where it is full the loop comes back to have it cleared
_WINDOW = 1 << 26  # prices whose lots are kept at most


class LaneDay:
    """A day being traded.

    Parameters
    ----------
    plan : TradingPlan
        With a queue of ours.
    events : Columns
    path : MarketPath
    horizon_s : float
        Of the features.
    has_model : bool
        Whether the quoter takes the path's forecasts.
    logs_actions : bool
        Whether each order action is written down.

    """

    def __init__(
        self, plan: TradingPlan, events: Columns, path: MarketPath, horizon_s: float, *, has_model: bool,
        logs_actions: bool = False,
    ) -> None:  # fmt: skip
        self.plan, self._events, self._path = plan, events, path
        self._quoter: Quoter = make_quoter(plan.run, plan.break_even_ticks)
        self._way = CommandPath(plan.config.venue.latency, *plan.span)
        books = int(np.count_nonzero(events.kind == BOOK))
        self._record = new_record(books, logs_actions=logs_actions)
        low, high = _window(events, plan.config.limits.price_collar_bps)
        self._lane = state_of(
            LANE, low=low, checks_every_ns=CHECK_NS, check_ns=events.ts[0] + CHECK_NS,
            holds_cancels=plan.snapshots, has_model=has_model, logs_actions=logs_actions,
            cent=10.0 ** Currency.from_str(plan.contract.terms.currency).precision,
        )[0]  # fmt: skip
        self._exchange = self._make_exchange(high - low + 1)
        self._maker = self._make_maker(horizon_s)

    def _make_exchange(self, span: int) -> Exchange:
        plan = self.plan
        assert plan.queue is not None
        model = make_queue(plan.queue, books_first=plan.books_first)
        if model is None:
            raise ConfigError("venue.queue.model nautilus: that queue runs in Nautilus alone; add --engine nautilus")
        return Exchange(
            model.rules(snapshots=plan.snapshots, shared=True),
            state_of(MATCH)[0],
            np.zeros(_ROOM, PLACE),
            np.zeros(_ROOM, CONSUMED),
            plan.make_fees().record,
            self._way.record,
            self._way.delays,
            np.zeros(4 * _ROOM, COMMAND),
            np.zeros(_ROOM, np.int64),
            np.zeros((2, span), np.int64),
            np.full((2, span), -1, np.int64),
        )

    def _make_maker(self, horizon_s: float) -> Maker:
        plan, config = self.plan, self.plan.config
        guard, s = plan.guard, config.strategy
        quoter, own = _in_loop(self._quoter)
        hours = QuotingHours(plan.sessions, s.stop_before_close_s)
        fill_guard, sides, recent = fill_guard_state(guard.fills)
        maker = Maker(
            settings_of(s.ladder, s.differ, config.limits, guard.model, plan.contract.mark_value)[0],
            quoter[0],
            own,
            state_of(SITUATION)[0],
            state_of(PLAN)[0],
            np.zeros(_ROOM, ORDER),
            state_of(TOTALS)[0],
            np.zeros(_ROOM, RESTING),
            np.zeros(_ROOM, STANDING),
            np.zeros(_ROOM, np.int64),
            np.zeros(_ROOM + 2 * MAX_LEVELS, ACTION),
            np.zeros(_ROOM, np.int64),
            Ledger(plan.contract.mark_value).state[0],
            data_guard_state(guard.data)[0],
            np.zeros(_LAGS, STAMP),
            model_guard_state(guard.model)[0],
            money_guard_state(guard.money)[0],
            fill_guard[0],
            sides,
            recent,
            budget_state(config.limits.max_messages_per_s)[0],
            hours.opens,
            hours.stops,
        )
        maker.situation["market"]["horizon_s"] = horizon_s
        return maker

    def run(self, progress: Callable[[int], None] | None = None) -> LaneRecord:
        """Trade to the end of the day.

        Raises
        ------
        Exception
            Whatever a quoter of the user's own raised.

        """
        with asked_by_callback(self._quoter) as asking:
            return self._run(asking, progress)

    def _run(self, asking: Asking, progress: Callable[[int], None] | None) -> LaneRecord:
        run(self._lane, self._exchange, self._maker, self._record, self._events, self._path, 0)  # compiled, or loaded
        started, busy = time.perf_counter(), time.process_time()
        events = len(self._events.kind)
        until = min(AT_ONCE, events)
        while True:
            came = run(
                self._lane, self._exchange, self._maker, self._record, self._events, self._path, until
            )  # fmt: skip
            if came == NO_PRICES:
                self._ask(asking)
            elif came != DONE:
                self._grow()
            elif until == events:
                break
            else:
                if progress is not None:
                    progress(int(self._events.ts[until]))
                self._let_go(until)
                until = min(until + AT_ONCE, events)
        return LaneRecord(self, time.perf_counter() - started, time.process_time() - busy)

    def _let_go(self, until: int) -> None:
        """A day may be larger than memory: what has been traded is not needed any more."""
        release_events(self._events, max(until - AT_ONCE, 0), until)
        book = int(self._lane["book"])
        for array in self._path:
            release(array, max(book - AT_ONCE, 0), book)

    def _ask(self, asking: Asking) -> None:
        """Let a quoter that gave no prices say why."""
        if asking.failure is not None:
            raise asking.failure
        situation, plan = self._maker.situation, self._maker.plan
        forecast = Forecast(*situation["forecast"].item()) if situation["has_forecast"] else None
        limit = self.plan.config.limits.max_position_lots
        best = self._quoter.best(
            Market(*situation["market"].item()), forecast, int(situation["risk"]["position"]), limit
        )
        plan["bid"], plan["ask"] = best

    def _grow(self) -> None:
        """Room for more, and more draws of latency."""
        self._exchange, self._maker, self._record = make_room(self._exchange, self._maker, self._record, self._lane)
        self._way.draw(len(self._exchange.places))
        self._exchange = self._exchange._replace(delays=self._way.delays)

    @property
    def state(self) -> tuple[Any, Exchange, Maker, Record]:
        """The groups of state, for whoever reads them back."""
        return self._lane, self._exchange, self._maker, self._record

    @property
    def market(self) -> tuple[Columns, MarketPath]:
        """What is traded on."""
        return self._events, self._path


class LaneRecord:
    """What a day left, as `engine.backtest.run_record.RunRecord` has it; columns are made when they are asked for."""

    def __init__(self, day: LaneDay, wall_s: float, cpu_s: float) -> None:
        lane, exchange, maker, record = day.state
        events, self._path = day.market
        self.wall_s, self.cpu_s = wall_s, cpu_s
        self._events, self._books = events, _books(events)
        self._updates = record.updates[: int(lane["updates"])]
        counts = record.counts
        self.fills = [
            Fill(ts, side, price, lots, True, beyond, commission)
            for ts, side, price, lots, beyond, commission in record.fills[: int(lane["fills"])].tolist()
        ]
        self.halted = [REASON_NAMES[int(lane["halted"])]] if lane["halted"] else []
        self.actions: list[int] = counts["actions"].tolist()
        self.placed_lots = int(counts["placed_lots"])
        self.taken = record.actions[: int(lane["actions"])] if lane["logs_actions"] else record.actions[:0]
        self.counts = _counts(counts, exchange.match, exchange.fees)
        self._ledger = maker.ledger

    @property
    def decision_ns(self) -> NDArray[np.int64]:
        """None: a compiled decision is not timed one by one."""
        return np.zeros(0, np.int64)

    @property
    def ts_ns(self) -> NDArray[np.int64]:
        return self._of_events(self._events.ts, np.int64)

    @property
    def touch(self) -> NDArray[np.int64]:
        return self._of_events(self._events.shown, np.int64, (BEST_BID, BEST_ASK))

    @property
    def own(self) -> NDArray[np.int64]:
        return self._own(slice(None), self.touch)

    def quotes(self, updates: NDArray[np.int64]) -> NDArray[np.int64]:
        touch = self._events.shown[self._books[self._updates["book"][updates]]][:, (BEST_BID, BEST_ASK)]
        return np.concatenate([touch, self._own(updates, touch.copy())], 1)

    def _own(self, updates: NDArray[np.int64] | slice, touch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Own best prices at updates with that touch, which is overwritten."""
        for column, (name, sign) in enumerate((("own_bid", -1), ("own_ask", 1))):
            distance = self._updates[name][updates]
            touch[:, column] += sign * distance.astype(np.int64)
            touch[distance <= NO_LADDER, column] = 0
        return touch

    @property
    def forecasts(self) -> NDArray[np.float32]:
        return self._forecasts(slice(None))

    @property
    def mid_forecasts(self) -> NDArray[np.float32]:
        return self._forecasts(0)

    def _forecasts(self, columns: slice | int) -> NDArray[np.float32]:
        forecasts, book = self._path.forecasts, self._updates["book"]
        found = np.empty((len(book), *forecasts[:0, columns].shape[1:]), np.float32)
        for part in parts(len(book)):
            found[part] = forecasts[book[part], columns]
            release(forecasts, int(book[part][0]), int(book[part][-1]) + 1)
        found[self._updates["own_bid"] == NO_LADDER] = np.nan
        return found

    @property
    def mids(self) -> NDArray[np.float64]:
        return self._of_events(self._events.shown, np.float64, (BEST_BID, BEST_ASK), lambda touch: touch.sum(1) / 2.0)

    def _of_events[T: np.generic](
        self, values: NDArray[Any], dtype: type[T], columns: tuple[int, ...] | None = None,
        make: Callable[[NDArray[Any]], NDArray[Any]] = lambda rows: rows,
    ) -> NDArray[T]:  # fmt: skip
        """What stands at the events of the updates, made block by block of some columns of theirs."""
        shape = make(values[:0] if columns is None else values[:0][:, columns]).shape[1:]
        found = np.empty((len(self._updates), *shape), dtype)
        for part in parts(len(found)):
            at = self._books[self._updates["book"][part]]
            found[part] = make(values[at] if columns is None else values[at][:, columns])
            release(values, int(at[0]), int(at[-1]) + 1)
        return found

    def net(self) -> float:
        """What fills have earned after fees, the open position marked to the last mid."""
        if not len(self._updates):
            return 0.0
        last = self._events.shown[self._books[self._updates["book"][-1]]]
        return float(equity(self._ledger, 0.5 * (last[BEST_BID] + last[BEST_ASK])))


def _books(events: Columns) -> NDArray[np.int32]:
    """Which events are book updates."""
    books, found = np.empty(int(np.count_nonzero(events.kind == BOOK)), np.int32), 0
    for part in parts(len(events.kind)):
        places = part.start + np.flatnonzero(events.kind[part] == BOOK)
        books[found : found + len(places)] = places
        found += len(places)
    return books


def _in_loop(quoter: Quoter) -> tuple[Any, Entry]:
    """How the loop asks a quoter: ours by its QUOTER, another by the address of its function, or of a callback."""
    ours = state_of_quoter(quoter)
    if ours is not None:
        return ours, NO_ENTRY
    entry = quoter.entry if isinstance(quoter, OwnQuoter) else None
    return state_of(QUOTER, kind=BY_ADDRESS), entry if entry is not None else callback_entry()


_NAMED = (
    "book_updates", "trades", "fills", "rejected", "too_late", "paused_side", "range_checks", "out_of_range",
    "limit_bound", "amend_refused",
)  # fmt: skip


def _counts(counts: Any, match: Any, fees: Any) -> dict[str, int]:
    """What was counted, by the names that maker and exchange give it; nothing that did not happen."""
    found = {name: int(counts[name]) for name in _NAMED}
    found |= {f"action_{name}": int(n) for name, n in zip(("place", "amend", "cancel"), counts["actions"], strict=True)}
    for what in ("pulled", "data", "halted"):
        found |= {f"{what}_{name}": int(n) for name, n in zip(REASON_NAMES, counts[what], strict=True) if name}
    found |= {f"model_{fault.name.lower()}": int(counts["model"][fault]) for fault in Fault if fault}
    found |= {f"bound_{limit.name.lower()}": int(counts["refusals"][limit]) for limit in Limit}
    found |= {name: int(match[name]) for name in ("filled_through", "filled_crossed")}
    found["locked_lots"] = int(min(fees["long"].sum(), fees["short"].sum()))
    return {name: n for name, n in found.items() if n}


def _window(events: Columns, collar_bps: float) -> tuple[int, int]:
    """Prices whose lots are kept: those within the collar of any mid, as far as the recording names them.

    None of our orders may rest at another price.
    """
    lows, highs, prices = [], [], []
    for part in parts(len(events.kind)):
        shown = events.shown[part][events.state[part] == 0]
        rows = events.price[events.first[part.start] : events.first[part.stop]]
        if len(shown):
            bids, asks = shown[:, BEST_BID], shown[:, BEST_ASK]
            reach = 1e-4 * collar_bps * np.maximum(np.abs(bids), np.abs(asks))  # prices of spreads may be negative
            lows.append(int((bids - reach).min()) - 1)
            highs.append(int((asks + reach).max()) + 1)
        prices += [int(rows.min()), int(rows.max())] if len(rows) else []
        release_events(events, part.start, part.stop)
    if not lows:
        return 0, 0
    low, high = max(min(lows), min(prices)), min(max(highs), max(prices))
    if high - low >= _WINDOW:
        raise ConfigError(
            f"limits.price_collar_bps {collar_bps:g}: orders may rest at {high - low:,} prices of this day; "
            "narrow it, or trade with --engine nautilus"
        )
    return low, high

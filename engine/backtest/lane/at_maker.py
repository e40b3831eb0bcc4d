"""The maker's side of the fast lane: what `strategies.maker.MarketMaker` does at each callback, in the same order."""

from __future__ import annotations

import math

from engine.backtest.lane.at_exchange import cancel_side, send, take_action
from engine.backtest.lane.state import AMEND, CANCEL, NO_LADDER, NO_QUOTE, PLACE
from market.columns import BEST_ASK, BEST_BID
from market.compiled import inlined
from market.events import ASK, BID
from market.ledger import pnl
from strategies import order_table
from strategies.decision import Step, after_quoter, before_quoter
from strategies.guard_rules import (
    Fault,
    budget_left,
    budget_spend,
    data_on_book,
    data_on_time,
    is_paused,
    model_fault,
    money_check,
    quoted,
)
from strategies.order_table import State, lay_out
from strategies.own_quoter import BY_ADDRESS, is_usable
from strategies.quoters import quote
from strategies.quoting_hours import contains
from strategies.trading_state import Reason
from venues.simulation.latency import arrival_ns
from venues.simulation.recorded_book import is_shown

_NOT_READY, _SESSION, _RECOVERING = (int(r.code) for r in (Reason.NOT_READY, Reason.SESSION, Reason.RECOVERING))
_QUOTED = int(Step.QUOTED)
_OK = int(Fault.NONE)
_CHANGING, _CANCELLING = int(State.CHANGING), int(State.CANCELLING)
_FARTHEST = (1 << 31) - 1


@inlined
def judged(lane, record, problem):  # type: ignore[no-untyped-def]
    """Take what the guard holds against the data; how often each problem began is counted."""
    if problem != lane.problem:
        lane.problem = problem
        if problem not in (0, _RECOVERING):
            record.counts.data[problem] += 1


@inlined
def pull(lane, exchange, maker, record, reason, now_ns):  # type: ignore[no-untyped-def]
    """Take the quotes away."""
    if cancel_side(lane, exchange, maker, record, 0, now_ns):
        record.counts.pulled[reason] += 1


@inlined
def check_money(lane, exchange, maker, record, now_ns):  # type: ignore[no-untyped-def]
    """Halt where the day's loss or drawdown is used up."""
    broken = money_check(maker.money_guard, pnl(maker.ledger, 0.5 * (lane.bid + lane.ask)))
    if broken and not lane.halted:
        lane.halted = broken
        record.counts.halted[broken] += 1
        pull(lane, exchange, maker, record, broken, now_ns)


@inlined
def look_by_time(lane, exchange, maker, record, path, now_ns):  # type: ignore[no-untyped-def]
    """Once a second, see `MarketMaker.check`."""
    is_sound = lane.book > 0 and lane.state == 0
    stale = data_on_time(maker.data_guard, now_ns)
    if stale:
        judged(lane, record, stale)
        pull(lane, exchange, maker, record, stale, now_ns)
    elif lane.halted:
        pull(lane, exchange, maker, record, lane.halted, now_ns)
    elif not contains(maker.opens, maker.stops, now_ns):
        pull(lane, exchange, maker, record, _SESSION, now_ns)
    elif lane.has_model and is_sound:
        outside = path.outside[lane.book - 1]
        record.counts.range_checks += 1
        record.counts.out_of_range += outside > 0
        maker.model_guard.outside = outside
    if is_sound:
        check_money(lane, exchange, maker, record, now_ns)


@inlined
def on_book(lane, exchange, maker, record, events, path, e, b):  # type: ignore[no-untyped-def]
    """A book update, the day's `b`th; returns whether a quoter gave no prices, and Python has to hear why."""
    ts, shown = events.ts[e], events.shown[e]
    record.counts.book_updates += 1
    lane.state = events.state[e]
    if lane.state == 0:
        lane.bid, lane.ask = shown[BEST_BID], shown[BEST_ASK]
    judged(lane, record, data_on_book(
        maker.data_guard, maker.lags, ts, events.ts_event[e], events.sequence[e], events.clear[e], lane.state
    ))  # fmt: skip
    reason = _reason(lane, maker, path.ready[b], ts)
    if reason:
        pull(lane, exchange, maker, record, reason, ts)
        if lane.state == 0:
            _write_update(lane, record, b, NO_LADDER, NO_LADDER)
        return False
    check_money(lane, exchange, maker, record, ts)
    if lane.halted:
        return False
    if _begin_decision(lane, maker, record, path, b, ts):
        return True
    finish_decision(lane, exchange, maker, record, events, e, b)
    return False


@inlined
def _reason(lane, maker, ready, ts):  # type: ignore[no-untyped-def]
    """Why nothing may be quoted now, 0 where something may."""
    if lane.halted:
        return lane.halted
    if lane.problem:
        return lane.problem
    if not ready:
        return _NOT_READY
    return 0 if contains(maker.opens, maker.stops, ts) else _SESSION


@inlined
def _begin_decision(lane, maker, record, path, b, now_ns):  # type: ignore[no-untyped-def]
    """Forecast and all else that a decision is made of, as far as the quoter."""
    situation = maker.situation
    market = situation.market
    market.bid_ticks, market.ask_ticks, market.regime = lane.bid, lane.ask, path.regime[b]
    market.sigma_ticks, market.trend_ticks = path.sigma_ticks[b], path.trend_ticks[b]
    situation.has_forecast = situation.fault = False
    if lane.has_model:
        forecast = situation.forecast
        forecast.mid_change_ticks, forecast.spread_ticks = path.forecasts[b, 0], path.forecasts[b, 1]
        forecast.log_volume, forecast.confidence = path.forecasts[b, 2], path.forecasts[b, 3]
        situation.has_forecast = not math.isnan(forecast.mid_change_ticks)
        fault = model_fault(maker.model_guard, situation.has_forecast, forecast.confidence, 0)
        situation.fault = fault != _OK
        record.counts.model[fault] += 1
    lay_out(maker.orders, maker.totals, situation, maker.touchable, maker.standing, maker.keys)
    situation.risk.last = lane.last_trade
    situation.risk.messages = budget_left(maker.budget, now_ns)
    situation.no_bids = is_paused(maker.fill_guard, maker.sides, BID, now_ns)
    situation.no_asks = is_paused(maker.fill_guard, maker.sides, ASK, now_ns)
    before_quoter(maker.settings, situation, maker.plan)
    if maker.plan.step != _QUOTED:
        return False
    if maker.quoter.kind == BY_ADDRESS:
        maker.plan.bid, maker.plan.ask = maker.own(
            market, situation.forecast, situation.risk.position, maker.settings.limits.max_position_lots
        )
        return not is_usable(maker.plan.bid, maker.plan.ask)
    maker.plan.bid, maker.plan.ask = quote(
        maker.quoter, market, situation.forecast, situation.risk.position, maker.settings.limits.max_position_lots
    )
    return False


@inlined
def finish_decision(lane, exchange, maker, record, events, e, b):  # type: ignore[no-untyped-def]
    """From the best prices wanted to the commands that go out."""
    ts, plan = events.ts[e], maker.plan
    after_quoter(
        maker.settings, maker.situation, maker.touchable, maker.standing, plan, maker.actions, maker.verdict
    )  # fmt: skip
    own_bid = own_ask = NO_QUOTE
    if plan.bids:
        quoted(maker.sides, BID, plan.ladder[0, 0, 0])
        own_bid = _distance(lane.bid - plan.ladder[0, 0, 0])
    if plan.asks:
        quoted(maker.sides, ASK, plan.ladder[1, 0, 0])
        own_ask = _distance(plan.ladder[1, 0, 0] - lane.ask)
    if plan.refused:
        record.counts.limit_bound += plan.refused
        record.counts.refusals += plan.refusals
    if plan.actions:
        _execute(lane, exchange, maker, record, events.shown[e], ts)
    _write_update(lane, record, b, own_bid, own_ask)


@inlined
def _execute(lane, exchange, maker, record, shown, ts):  # type: ignore[no-untyped-def]
    """Carry out a decision's actions; they leave together."""
    arrives = arrival_ns(exchange.path, exchange.delays, ts)
    for a in range(maker.plan.actions):
        action = maker.actions[a]
        take_action(lane, record, ts, action.kind, action.side, action.price, action.size)
        if action.kind == PLACE:
            beyond_depth = not is_shown(shown, action.side, action.price)
            key = order_table.sent(
                maker.orders, maker.totals, action.side, action.price, action.size, beyond_depth, ts
            )  # fmt: skip
            send(lane, exchange, arrives, PLACE, key, action.side, action.price, action.size)
            continue
        key = maker.keys[action.order if action.side == BID else maker.situation.bids + action.order]
        order = maker.orders[order_table.find(maker.orders, maker.totals, key)]
        order.since_ns = ts
        if action.kind == AMEND:
            order.state = _CHANGING
            send(lane, exchange, arrives, AMEND, key, action.side, action.price, order.filled + action.size)
        else:
            order.state = _CANCELLING
            send(lane, exchange, arrives, CANCEL, key, action.side, action.price, 0)
    budget_spend(maker.budget, maker.plan.actions)


@inlined
def _distance(ticks):  # type: ignore[no-untyped-def]
    return min(max(ticks, -_FARTHEST + 1), _FARTHEST)


@inlined
def _write_update(lane, record, b, own_bid, own_ask):  # type: ignore[no-untyped-def]
    update = record.updates[lane.updates]
    update.book, update.own_bid, update.own_ask = b, own_bid, own_ask
    lane.updates += 1

"""The peer: hftbacktest with the same quoter and ladder on the same rows. Import it only where that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hftbacktest import BUY, GTX, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from hftbacktest.types import BUY_EVENT, DEPTH_EVENT, EXCH_EVENT, LOCAL_EVENT, SELL_EVENT, TRADE_EVENT, event_dtype
from numba import njit
from numpy.typing import NDArray

from benchmarks.card import Timed, timed
from benchmarks.legs import Took
from benchmarks.markets import Timeable
from engine.assembly import make_quoter
from engine.backtest.lanes import DayMarket, open_market
from engine.plan import Plan, TradingPlan, plan_day
from market.columns import BEST_ASK, BEST_BID, BOOK, Columns
from market.events import BID
from market.events import BUY as BOUGHT
from market.records import state_of
from strategies.ladder import build_ladder, ladder_state
from strategies.quoters import quote, state_of_quoter
from strategies.values import FORECAST, MARKET

_FOREVER = 10**18
_ASKS = 1 << 40  # added to an ask's price, its order's id: a bid's id is its price
_UPDATES, _ACTIONS = range(2)


class HftBacktest:
    """hftbacktest's loop alone, its events in memory; the quoter and the ladder are our compiled functions."""

    lane, traded = "hftbacktest", "whole"
    models = (
        "power queue (n = 1), whole fills only, constant latency, fees a fraction of value; "
        "an order stays while the ladder has its price; no limits but the position's, no guards, no record; "
        "rows in memory, forecasts cached"
    )

    def __init__(self, market: Timeable, run: Plan) -> None:
        self._days = [
            (plan_day(run, market.catalog, day), open_market(market.catalog, day, run)) for day in market.days
        ]
        self._rows = [rows_of(opened.events) for _, opened in self._days]

    def run(self) -> Took:
        took = [_trade(plan, market, rows) for (plan, market), rows in zip(self._days, self._rows, strict=True)]
        cpu, wall = (sum(one.time[i] for one in took) for i in range(2))
        return Took(*(sum(one[i] for one in took) for i in range(3)), Timed(cpu, wall))


def rows_of(events: Columns) -> NDArray[Any]:
    """Rows as hftbacktest's events (m,): prices in ticks, sizes in lots, both times those of arrival."""
    assert not events.clear[1:].any(), "a book that is emptied later is not handed on"
    times, kinds = (np.repeat(a, np.diff(events.first)) for a in (events.ts, events.kind))
    made = np.zeros(len(events.price), event_dtype)
    made["ev"] = (
        EXCH_EVENT
        | LOCAL_EVENT
        | np.where(kinds == BOOK, DEPTH_EVENT, TRADE_EVENT)
        | np.where(events.side == np.where(kinds == BOOK, BID, BOUGHT), BUY_EVENT, SELL_EVENT)
    )
    made["exch_ts"] = made["local_ts"] = times
    made["px"], made["qty"] = events.price, events.size
    return made


def _trade(plan: TradingPlan, market: DayMarket, rows: NDArray[Any]) -> Took:
    events, latency = market.events, plan.config.venue.latency
    sound = events.state == 0
    low, high = int(events.shown[sound, BEST_BID].min() * 0.99), int(events.shown[sound, BEST_ASK].max() * 1.01)
    asset = (
        BacktestAsset()
        .data([rows])
        .linear_asset(1.0)
        .constant_order_latency(round(1e6 * (latency.decision.ms + latency.order.ms)), 0)
        .power_prob_queue_model(1.0)
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0002, 0.0005)
        .tick_size(1.0)
        .lot_size(1.0)
        .last_trades_capacity(1000)
        .roi_lb(float(low))
        .roi_ub(float(high))
    )
    hbt = ROIVectorMarketDepthBacktest([asset])
    quoter = state_of_quoter(make_quoter(plan.run, plan.break_even_ticks))
    ladder, out = plan.config.strategy.ladder, np.zeros(2, np.int64)
    seen = state_of(MARKET, horizon_s=market.horizon_s)
    has_model = plan.run.artifact is not None
    call = (
        hbt, quoter, seen, state_of(FORECAST), market.path, events.ts[events.kind == BOOK], has_model,
        ladder_state(ladder), np.zeros((2, ladder.levels, 2), np.int64), plan.config.limits.max_position_lots, out,
    )  # fmt: skip
    _, time = timed(lambda: _loop(*call))
    fills = int(hbt.state_values(0).num_trades)
    hbt.close()
    return Took(int(out[_UPDATES]), int(out[_ACTIONS]), fills, time)


@njit
def _loop(hbt, quoter, seen, coming, path, times, has_model, ladder, out, limit, counts):  # type: ignore[no-untyped-def]
    """At each book update quote, build the ladder, cancel what it does not have and place what it has more."""
    market, forecast, b = seen[0], coming[0], 0
    stale = np.zeros(256, np.uint64)
    while hbt.wait_next_feed(False, _FOREVER) != 1:
        if len(hbt.last_trades(0)) > 0:
            hbt.clear_last_trades(0)
            continue
        counts[_UPDATES] += 1
        while b + 1 < len(times) and times[b + 1] <= hbt.current_timestamp:
            b += 1
        depth = hbt.depth(0)
        market.bid_ticks, market.ask_ticks = depth.best_bid_tick, depth.best_ask_tick
        if not path.ready[b] or market.bid_ticks >= market.ask_ticks:
            continue
        market.sigma_ticks, market.trend_ticks = path.sigma_ticks[b], path.trend_ticks[b]
        market.regime = path.regime[b]
        if has_model:
            forecast.mid_change_ticks, forecast.spread_ticks = path.forecasts[b, 0], path.forecasts[b, 1]
            forecast.log_volume, forecast.confidence = path.forecasts[b, 2], path.forecasts[b, 3]
        position = int(hbt.position(0))
        bid, ask = quote(quoter, seen, coming, position, limit)
        bids, asks = build_ladder(
            ladder, out, bid, ask, market.bid_ticks, market.ask_ticks, 0.0, limit - position, limit + position
        )
        counts[_ACTIONS] += _follow(hbt, out, bids, asks, stale)


@njit
def _follow(hbt, out, bids, asks, stale):  # type: ignore[no-untyped-def]
    """Cancel the orders at prices that the ladder does not have, place where it has none; returns how many actions."""
    hbt.clear_inactive_orders(0)
    orders = hbt.orders(0)
    held, n, actions = orders.values(), 0, 0
    while held.has_next():
        order = held.get()
        wanted = out[0, :bids, 0] if order.side == BUY else out[1, :asks, 0]
        if order.cancellable and n < len(stale) and not (wanted == order.price_tick).any():
            stale[n] = order.order_id
            n += 1
    for i in range(n):
        hbt.cancel(0, stale[i], False)
    for j in range(bids):
        price = out[0, j, 0]
        if price not in orders:
            hbt.submit_buy_order(0, price, float(price), float(out[0, j, 1]), GTX, LIMIT, False)
            actions += 1
    for j in range(asks):
        price = out[1, j, 0]
        if price + _ASKS not in orders:
            hbt.submit_sell_order(0, price + _ASKS, float(price), float(out[1, j, 1]), GTX, LIMIT, False)
            actions += 1
    return n + actions

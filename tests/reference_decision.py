"""What one decision is, line by line in Python: the slow reference of `strategies.decision` and all that it calls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from engine.config.trading import StrategyConfig
from market.events import ASK, BID
from models.ensemble.predictor import Forecast
from strategies.decision import Inputs
from strategies.differ import DifferConfig
from strategies.guard import ModelGuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig, RiskState
from strategies.quoters import CmmConfig, OffsetConfig
from strategies.values import Action, Kind, Market

type Levels = list[tuple[int, int]]
type Best = Callable[[Market, Forecast | None, int, int], tuple[float, float]]


# ── quoters ───────────────────────────────────────────────────────────────────────────────────


def cmm(c: CmmConfig, break_even_ticks: float) -> Best:
    def best(market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        assert forecast is not None
        centre = market.mid_ticks + c.alpha * forecast.mid_change_ticks
        centre -= c.skew * market.sigma_ticks * inventory / limit
        half = max(
            0.5 * c.spread_share * forecast.spread_ticks,
            c.sigma_share * market.sigma_ticks,
            break_even_ticks + c.margin_ticks,
            c.floor_ticks,
        )
        half *= 1.0 + c.widen * (1.0 - forecast.confidence)
        if market.regime == 2:
            half *= 1.0 + c.widen_volatile
        return centre - half, centre + half

    return best


def offset(c: OffsetConfig, *, inventory_counts: bool, trend_counts: bool) -> Best:
    def best(market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        bid, ask = market.mid_ticks - c.offset_ticks, market.mid_ticks + c.offset_ticks
        if inventory_counts:
            shift = c.inventory_ticks * inventory / limit
            bid, ask = bid - shift, ask - shift
        if trend_counts:
            shift = c.trend_weight * market.trend_ticks
            bid, ask = bid + shift, ask + shift
        return bid, ask

    return best


def avellaneda_stoikov(gamma: float, k: float, remaining_s: float) -> Best:
    def best(market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        risk = gamma * (market.sigma_ticks * market.sigma_ticks) / market.horizon_s * remaining_s
        centre = market.mid_ticks - inventory * risk
        half = 0.5 * risk + math.log1p(gamma / k) / gamma
        return centre - half, centre + half

    return best


def glft(gamma: float, a: float, k: float) -> Best:
    constant = math.log1p(gamma / k) / gamma
    root = math.sqrt(gamma / (2.0 * k * a) * (1.0 + gamma / k) ** (1.0 + k / gamma))

    def best(market: Market, forecast: Forecast | None, inventory: int, limit: int) -> tuple[float, float]:
        slope = root * market.sigma_ticks / math.sqrt(market.horizon_s)
        bid = market.mid_ticks - constant - 0.5 * (1 + 2 * inventory) * slope
        ask = market.mid_ticks + constant + 0.5 * (1 - 2 * inventory) * slope
        return bid, ask

    return best


# ── ladder and differ ─────────────────────────────────────────────────────────────────────────


def build_ladder(
    c: LadderConfig, best: tuple[float, float], touch: tuple[int, int], volume: float, rooms: tuple[int, int]
) -> tuple[Levels, Levels]:
    best_bid = min(math.floor(best[0] + 1e-9), touch[1] - 1)
    best_ask = max(math.ceil(best[1] - 1e-9), touch[0] + 1)
    best_ask = max(best_ask, best_bid + 1)
    total = c.volume_share * volume
    base = c.levels * c.size_lots + c.size_step_lots * c.levels * (c.levels - 1) // 2
    scale = total / base if total > 0.0 else 1.0
    sides: list[Levels] = []
    for price, away, room in ((best_bid, -c.price_step_ticks, rooms[0]), (best_ask, c.price_step_ticks, rooms[1])):
        levels = []
        for j in range(c.levels):
            size = max(min(int(scale * (c.size_lots + j * c.size_step_lots)), c.max_level_lots), 1)
            size = min(size, max(room, 0))
            if size <= 0:
                break
            levels.append((price + j * away, size))
            room -= size
        sides.append(levels)
    return sides[0], sides[1]


def diff(c: DifferConfig, side: int, wanted: Levels, working: Levels, tolerance: int) -> list[Action]:
    inward = 1 if side == BID else -1
    verdict: list[int | None] = [None] * len(working)  # None: cancel, 0: keep, else the size to amend to
    places = []
    for price, size in wanted:
        near = [
            (abs(p - price), i)
            for i, (p, _) in enumerate(working)
            if verdict[i] is None and -tolerance <= inward * (p - price) <= c.price_tolerance_ticks
        ]
        if near:
            i = min(near)[1]
            excess = working[i][1] - size
            if excess > c.size_tolerance * size:
                verdict[i] = size
                continue
            if -excess <= c.size_tolerance * size:
                verdict[i] = 0
                continue
        places.append(Action(Kind.PLACE, side, price, size, -1))
    cancels = [Action(Kind.CANCEL, side, working[i][0], 0, i) for i, v in enumerate(verdict) if v is None]
    amends = [Action(Kind.AMEND, side, working[i][0], v, i) for i, v in enumerate(verdict) if v]
    return cancels + amends + places


# ── limits ────────────────────────────────────────────────────────────────────────────────────


def whole(lots: float) -> int:
    return int(lots) if math.isfinite(lots) else (1 << 62) * (1 if lots > 0 else -1)


def admit(
    c: LimitsConfig, turnover: Callable[[float], float], actions: list[Action], s: RiskState, mid_ticks: float
) -> tuple[list[Action], dict[str, int]]:
    admitted: list[Action] = []
    refusals: Counter[str] = Counter()
    capacity = [0, c.max_position_lots - s.position - s.buys, c.max_position_lots + s.position - s.sells]
    resting, count, messages = [0, s.buys, s.sells], s.open_orders, s.messages
    lowest_ask = min((p for side, p, _ in s.orders if side == ASK), default=None)
    highest_bid = max((p for side, p, _ in s.orders if side == BID), default=None)
    unanswered = {(side, price) for side, price, waits in s.orders if waits}
    for action in actions:
        kind, side, price, size, order = action
        if kind == Kind.CANCEL:
            messages -= 1.0
            admitted.append(action)
            continue
        if messages < 1.0:
            refusals["messages"] += 1
            continue
        if kind == Kind.AMEND:
            messages -= 1.0
            admitted.append(action)
            continue
        refusal = s.unknown and f"unknown_{s.unknown}"
        if abs(price - mid_ticks) > c.price_collar_bps * 1e-4 * mid_ticks:
            refusal = "collar_mid"
        elif c.last_collar_bps is not None and s.last and abs(price - s.last) > c.last_collar_bps * 1e-4 * s.last:
            refusal = "collar_last"
        elif count >= c.max_open_orders:
            refusal = "open_orders"
        elif (side, price) in unanswered:
            refusal = "duplicate"
        elif (side == BID and lowest_ask is not None and price >= lowest_ask) or (
            side == ASK and highest_bid is not None and price <= highest_bid
        ):
            refusal = "self_trade"
        if refusal:
            refusals[refusal] += 1
            continue
        fits, tightest = size, ""
        for name, limit in (
            ("position", capacity[side]),
            ("order_size", c.max_order_lots),
            ("ladder_size", size if c.max_ladder_lots is None else c.max_ladder_lots - resting[side]),
            *money_capacity(c, turnover, side, s, resting, mid_ticks, price),
        ):
            if limit < fits:
                fits, tightest = limit, name
        if fits < size:
            refusals[tightest] += 1
        if fits <= 0:
            continue
        admitted.append(Action(kind, side, price, fits, order))
        messages -= 1.0
        count += 1
        capacity[side] -= fits
        resting[side] += fits
        unanswered.add((side, price))
        if side == BID:
            highest_bid = price if highest_bid is None else max(highest_bid, price)
        else:
            lowest_ask = price if lowest_ask is None else min(lowest_ask, price)
    return admitted, dict(refusals)


def money_capacity(
    c: LimitsConfig, turnover: Callable[[float], float], side: int, s: RiskState, resting: list[int], mid: float, price: int
) -> list[tuple[str, int]]:  # fmt: skip
    mark, capacity = max(turnover(mid), 1e-12), []
    if c.max_order_notional is not None:
        capacity.append(("order_notional", whole(c.max_order_notional / max(turnover(price), 1e-12))))
    if c.max_gross_notional is not None:
        used = s.others_gross + (abs(s.position) + resting[BID] + resting[ASK]) * mark
        left = whole((c.max_gross_notional - used) / mark) if not math.isnan(used) else 0
        capacity.append(("gross_notional", left))
    if c.max_net_notional is not None:
        sign = 1 if side == BID else -1
        used = sign * (s.others_net + s.position * mark) + resting[side] * mark
        left = whole((c.max_net_notional - used) / mark) if not math.isnan(used) else 0
        capacity.append(("net_notional", left))
    return capacity


# ── all of it ─────────────────────────────────────────────────────────────────────────────────


def ladder_of(
    strategy: StrategyConfig, limits: LimitsConfig, model: ModelGuardConfig, best: Best, inputs: Inputs
) -> tuple[Levels, Levels]:
    market, forecast, position = inputs.market, inputs.forecast, inputs.risk.position
    limit, volume = limits.max_position_lots, 0.0
    if inputs.fault:
        if model.fallback == "pull":
            return [], []
        away = max(model.wide_ticks, model.wide_sigmas * market.sigma_ticks)
        prices = market.mid_ticks - away, market.mid_ticks + away
    else:
        prices = best(market, forecast, position, limit)
        volume = max(math.expm1(min(forecast.log_volume, 30.0)), 0.0) if forecast is not None else 0.0
    touch = (market.bid_ticks, market.ask_ticks)
    bids, asks = build_ladder(strategy.ladder, prices, touch, volume, (limit - position, limit + position))
    return [] if inputs.paused[0] else bids, [] if inputs.paused[1] else asks


def decide(
    strategy: StrategyConfig,
    limits: LimitsConfig,
    model: ModelGuardConfig,
    best: Best,
    turnover: Callable[[float], float],
    inputs: Inputs,
) -> tuple[tuple[Levels, Levels], list[Action], dict[str, int]]:
    ladder, c = ladder_of(strategy, limits, model, best, inputs), strategy.differ
    tolerance = max(c.price_tolerance_ticks, round(c.price_tolerance_sigmas * inputs.market.sigma_ticks))
    wanted = diff(c, BID, ladder[0], inputs.bids, tolerance) + diff(c, ASK, ladder[1], inputs.asks, tolerance)
    actions, refusals = admit(limits, turnover, wanted, inputs.risk, inputs.market.mid_ticks)
    return ladder, actions, refusals

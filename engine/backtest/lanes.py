"""A day, traded in one of two lanes: the compiled loop, or Nautilus' engine, which lives as live trading does.

Both call the same rules and leave the same record. What they may differ in is said in docs/simulator.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from engine.assembly import make_predictor, make_stream
from engine.backtest import nautilus_lane
from engine.backtest.agreement import ActionLog, check_agreement
from engine.backtest.episode import Episode
from engine.backtest.lane.day import LaneDay
from engine.backtest.lane.usable import usable_updates
from engine.config.simulation import EngineName
from engine.plan import Plan, TradingPlan, plan_day
from market.columns import Columns
from models.ensemble.market_path import Lessons, MarketPath
from models.ensemble.predictor import Predictor
from venues.recordings.catalog import Catalog, Day

type Progress = Callable[[dt.date, float], None]


class DayMarket(NamedTuple):
    """A recorded day as the fast lane trades it, and the features' horizon; none of it depends on our orders."""

    day: Day
    events: Columns
    path: MarketPath
    horizon_s: float


def engine_of(run: Plan) -> EngineName:
    """The lane of a run: Nautilus' own queue runs in Nautilus alone."""
    if run.queue is not None and run.queue.model == "nautilus":
        return "nautilus"
    return run.config.backtest.engine


def run_day(
    catalog: Catalog, day: Day, run: Plan, progress: Progress | None = None, predictor: Predictor | None = None
) -> Episode:
    """Trade one day from flat; a predictor that has served earlier days goes on from what it learnt there.

    Raises
    ------
    Exception
        Whatever a strategy callback or a quoter raised: a failed decision never passes for a quiet day.
    LanesDiffer
        Both lanes were asked for, and they do not agree.

    """
    engine = engine_of(run)
    if engine == "nautilus":
        return nautilus_lane.run_day(catalog, day, run, progress, predictor)
    if engine == "fast":
        return trade_market(open_market(catalog, day, run, predictor), plan_day(run, catalog, day), progress)
    log = ActionLog()
    theirs = nautilus_lane.run_day(catalog, day, run, progress, predictor, log)
    ours = trade_market(open_market(catalog, day, run), plan_day(run, catalog, day), logs_actions=True)
    check_agreement(day, ours, theirs, log)
    return ours


def open_market(catalog: Catalog, day: Day, run: Plan, predictor: Predictor | None = None) -> DayMarket:
    """A day's columns, and what the features and the artifact say of it."""
    predictor = predictor if predictor is not None else make_predictor(run)
    plan, events = plan_day(run, catalog, day), catalog.columns(day)
    spec = make_stream(plan, predictor).features.spec
    return DayMarket(day, events, market_path(events, plan, predictor), spec.horizon_s)


def market_path(events: Columns, plan: TradingPlan, predictor: Predictor | None) -> MarketPath:
    """What the maker reads of features and model."""


def trade_market(
    market: DayMarket, plan: TradingPlan, progress: Progress | None = None, *, logs_actions: bool = False
) -> Episode:
    """Trade a day in the fast lane."""
    day, span = market.day, max(market.day.end_ns - market.day.start_ns, 1)
    lane = LaneDay(
        plan, market.events, market.path, market.horizon_s, has_model=plan.run.artifact is not None,
        logs_actions=logs_actions,
    )  # fmt: skip
    tell = (lambda ts: progress(day.date, (ts - day.start_ns) / span)) if progress is not None else None
    record = lane.run(tell)
    return Episode(day.date, plan.contract, record, record.net(), record.counts, record.wall_s)

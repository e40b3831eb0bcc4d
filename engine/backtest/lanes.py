"""A day, traded in one of two lanes: the compiled loop, or Nautilus' engine, which lives as live trading does.

Both call the same rules and leave the same record. What they may differ in is said in docs/simulator.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from engine.assembly import make_predictor
from engine.backtest import nautilus_lane
from engine.backtest.agreement import ActionLog, check_agreement
from engine.backtest.episode import Episode
from engine.backtest.forecasts import market_path
from engine.backtest.lane.day import LaneDay
from engine.backtest.lane.usable import usable_updates
from engine.config import override
from engine.config.simulation import EngineName
from engine.plan import Plan, TradingPlan, plan_day
from market.columns import Columns, frozen
from models.ensemble.market_path import Lessons, MarketPath
from models.ensemble.predictor import Predictor
from strategies.quoting_hours import QuotingHours
from venues.recordings.catalog import Catalog, Day

_FIXED = {"model.recalibrate.enabled": False}

type Progress = Callable[[dt.date, float], None]


class DayMarket(NamedTuple):
    """A recorded day as the fast lane trades it, and the features' horizon; none of it depends on our orders."""

    day: Day
    events: Columns
    path: MarketPath
    horizon_s: float


def engine_of(run: Plan) -> EngineName:
    """The lane of a run: Nautilus' own queue runs in Nautilus alone."""
    queue = run.queue or run.config.venue.queue
    return "nautilus" if queue.model == "nautilus" else run.config.backtest.engine


def run_day(
    catalog: Catalog, day: Day, run: Plan, progress: Progress | None = None, predictor: Predictor | None = None
) -> Episode:
    """Trade one day from flat; a predictor that has served earlier days goes on from what it learnt there.

    Raises
    ------
    Exception
        Whatever a strategy callback or a quoter raised: a failed decision never passes for a quiet day.
    LanesDifferError
        Both lanes were asked for, and they do not agree.

    """
    engine = engine_of(run)
    if engine == "nautilus":
        return nautilus_lane.run_day(catalog, day, run, progress, predictor)
    if engine == "fast":
        return trade_market(open_market(catalog, day, run, predictor), plan_day(run, catalog, day), progress)
    log, same = ActionLog(), _another(run, predictor)
    theirs = nautilus_lane.run_day(catalog, day, run, progress, predictor, log)
    ours = trade_market(open_market(catalog, day, run, same), plan_day(run, catalog, day), logs_actions=True)
    check_agreement(day, ours, theirs, log)
    return ours


def _another(run: Plan, predictor: Predictor | None) -> Predictor | None:
    """A predictor that has learnt the same; the lanes begin a day alike."""
    same = make_predictor(run) if predictor is not None else None
    if same is not None and same.recalibrator is not None:
        assert predictor is not None
        assert predictor.recalibrator is not None
        same.recalibrator.go_on(predictor.recalibrator.learnt())
    return same


def open_market(catalog: Catalog, day: Day, run: Plan, predictor: Predictor | None = None) -> DayMarket:
    """A day's columns, and what the features and the artifact say of it."""
    plan, events = plan_day(run, catalog, day), frozen(catalog.columns(day))
    predictor = predictor if predictor is not None else make_predictor(run)
    spec = predictor.manifest.spec if predictor is not None else run.config.features
    lessons = None
    if predictor is not None and predictor.recalibrator is not None:
        plain = make_predictor(msgspec.structs.replace(run, config=override(run.config, _FIXED)))
        path = market_path(run.config, catalog, day, spec, plain)
        hours = QuotingHours(plan.sessions, run.config.strategy.stop_before_close_s)
        usable = usable_updates(events, path, hours, plan.guard.data, plan.guard.model)
        lessons = Lessons(usable, plan.guard.model.min_confidence)
    return DayMarket(day, events, market_path(run.config, catalog, day, spec, predictor, lessons), spec.horizon_s)


def open_markets(catalog: Catalog, days: Sequence[Day], run: Plan) -> list[DayMarket]:
    """Consecutive days; where the fusion is recalibrated it goes on from day to day."""
    predictor = make_predictor(run)
    return [open_market(catalog, day, run, predictor) for day in days]


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

"""What a backtest is timed in: the lanes of this project, and a peer where it is installed. Each trades the same days."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from benchmarks.card import Timed, timed
from benchmarks.markets import Timeable
from engine.assembly import make_predictor
from engine.backtest import nautilus_lane
from engine.backtest.lane.day import LaneDay, LaneRecord
from engine.backtest.lanes import open_market, trade_market
from engine.config import SHIPPED, Config, QuoterName, override
from engine.plan import Plan, plan_day

QUOTERS: tuple[tuple[QuoterName, Path | None], ...] = (("cmm", SHIPPED), ("foic", None))


class Took(NamedTuple):
    """One run of a leg: what was traded, and what that took."""

    updates: int
    actions: int
    fills: int
    time: Timed


class Leg(Protocol):
    """A lane, or a peer, ready to trade some days again and again."""

    lane: str
    traded: str
    """What is traded, where that is not all days."""
    models: str
    """What it models, and what is timed."""

    def run(self) -> Took:
        """Trade the days from flat."""


class Fast:
    """The compiled lane's loop alone: columns and forecasts are there."""

    lane, traded = "fast", "whole"
    models = (
        "calibrated queue with partial fills, latency of each command, snapshots' intervals, fees by open and close, "
        "risk limits, guards, working orders, ledger; records updates, fills and counts; columns and forecasts cached"
    )

    def __init__(self, market: Timeable, run: Plan) -> None:
        self._plans = [plan_day(run, market.catalog, day) for day in market.days]
        self._markets = [open_market(market.catalog, day, run) for day in market.days]

    def run(self) -> Took:
        records = []
        for plan, market in zip(self._plans, self._markets, strict=True):
            has_model = plan.run.artifact is not None
            records.append(LaneDay(plan, market.events, market.path, market.horizon_s, has_model=has_model).run())
        return _took(records, Timed(sum(r.cpu_s for r in records), sum(r.wall_s for r in records)))


class FastFromColumns:
    """The compiled lane from columns on disk: with features and forecasts, which nothing keeps."""

    lane, traded = "fast from columns", "whole"
    models = "as fast; opens the columns, and makes features and forecasts (without a model: features) on the way"

    def __init__(self, market: Timeable, run: Plan) -> None:
        self._market = market
        self._run = msgspec.structs.replace(run, config=override(run.config, {"data.forecasts_gb": 0}))
        self._predictor = make_predictor(run)

    def run(self) -> Took:
        shutil.rmtree(self._market.catalog.root / "forecasts", ignore_errors=True)  # another leg may have kept them
        records, time = timed(lambda: [self._trade(i) for i in range(len(self._market.days))])
        return _took(records, time)

    def _trade(self, i: int) -> LaneRecord:
        catalog, day = self._market.catalog, self._market.days[i]
        opened = open_market(catalog, day, self._run, self._predictor)
        record = trade_market(opened, plan_day(self._run, catalog, day)).recorder
        assert isinstance(record, LaneRecord)
        return record


class InNautilus:
    """The same maker in Nautilus' engine, as it trades live; features and forecasts one by one."""

    lane = "nautilus"
    models = "as fast, by the same rules, in Nautilus' engine; reads Parquet, makes features and forecasts one by one"

    def __init__(self, market: Timeable, run: Plan) -> None:
        self._catalog, self._day = market.short
        self._run, self._predictor = run, make_predictor(run)
        self.traded = f"its first {self._day.book_updates:,}"

    def run(self) -> Took:
        trade = partial(nautilus_lane.run_day, self._catalog, self._day, self._run, None, self._predictor)
        episode, time = timed(trade)
        recorder = episode.recorder
        return Took(episode.counts["book_updates"], sum(recorder.actions), len(recorder.fills), time)


def _took(records: list[LaneRecord], time: Timed) -> Took:
    return Took(
        sum(r.counts["book_updates"] for r in records),
        sum(sum(r.actions) for r in records),
        sum(len(r.fills) for r in records),
        time,
    )


def legs(market: Timeable, quoter: QuoterName, artifact: Path | None, others: list[Callable[..., Leg]]) -> list[Leg]:
    """All that one quoter is timed in on one market."""
    run = Plan(Config(), quoter, artifact, None)
    made: list[Leg] = [Fast(market, run), FastFromColumns(market, run), InNautilus(market, run)]
    return made + [other(market, run) for other in others]

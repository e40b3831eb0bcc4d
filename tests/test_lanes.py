"""Both lanes trade alike, event by event: on markets that hypothesis makes up, under settings of all kinds."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backtest.backtest import Task, backtest, run_days
from engine.backtest.episode import Episode
from engine.backtest.lane import day as lane_day
from engine.backtest.lane.day import LaneDay
from engine.backtest.lane.loop import run
from engine.backtest.lane.state import NEEDS_ROOM
from engine.backtest.lanes import open_market, run_day
from engine.config import SHIPPED, Config
from engine.config.loading import override
from engine.plan import Plan, plan_day
from tests.made_days import KINDS, made_day
from venues.recordings.catalog import Catalog, Day

type Settings = Mapping[str, Any]

_NO_DECISION = {"venue.latency.decision.ms": 0.0}
_WAYS: list[Settings] = [
    {},
    *({**_NO_DECISION, "venue.latency.order.ms": ms} for ms in (0.0, 1e-6, 0.5, 100.0, 500.0, 1_000.0)),
    {"venue.latency.order": {"kind": "quantiles", "quantiles_ms": [0.0, 1.0, 50.0, 900.0]}},
    {"venue.latency.order": {"kind": "quantiles", "quantiles_ms": [0.0, 3_000.0]}},
    {"venue.latency.feed": {"kind": "recorded"}},
]
_FEES: list[Settings] = [
    {"fees.scenario": "exchange"}, {"fees.scenario": "zero"}, {"fees.scenario": "rebate"}, {"fees.lock": True},
]  # fmt: skip
_GUARDS: list[Settings] = [
    {},
    {"guard.money.loss_budget": 50.0},
    {"guard.money.max_drawdown": 20.0},
    {"guard.data.max_lag_ms": 20.0, "guard.data.healthy_s": 0.2},
    {"guard.data.stale_s": 0.7, "guard.data.healthy_s": 0.0},
    {"guard.data.sequence": "rising"},
    {"guard.data.sequence": "contiguous"},
    {"guard.fills.fills": 1, "guard.fills.within_s": 0.5, "guard.fills.pause_s": 0.3},
    {"guard.fills.fills": 2, "guard.fills.within_s": 5.0, "guard.fills.pause_s": 2.0},
]
_LIMITS: list[Settings] = [
    {},
    {"limits.max_open_orders": 3},
    {"limits.max_messages_per_s": 3.0},
    {"limits.max_position_lots": 1},
    {"limits.max_position_lots": 200, "limits.max_order_lots": 50},
    {"limits.max_ladder_lots": 2},
    {"limits.price_collar_bps": 3.0},
    {"limits.price_collar_bps": 1_000.0, "limits.last_collar_bps": 20.0},
    {"limits.max_gross_notional": 2e6, "limits.max_net_notional": 1e6, "limits.max_order_notional": 8e5},
]
_LADDERS: list[Settings] = [
    {},
    {"strategy.ladder.levels": 1},
    {"strategy.ladder.levels": 20, "limits.max_open_orders": 80, "limits.max_position_lots": 100},
    {"strategy.ladder.volume_share": 0.5},
    {"strategy.ladder.size_lots": 7, "strategy.ladder.size_step_lots": 3, "limits.max_position_lots": 60},
]
_DIFFERS: list[Settings] = [
    {},
    {"strategy.differ.price_tolerance_ticks": 2},
    {"strategy.differ.price_tolerance_sigmas": 0.0, "strategy.differ.size_tolerance": 0.0},
]
_QUOTES: list[Settings] = [
    {},
    {"strategy.offset.offset_ticks": 0.0, "strategy.cmm.floor_ticks": 0.1, "strategy.cmm.spread_share": 0.1},
    {"strategy.offset.offset_ticks": 1.0, "strategy.offset.inventory_ticks": 6.0, "guard.model.max_outside": 0},
    {"guard.model.min_confidence": 0.7, "guard.model.fallback": "wide", "guard.model.wide_ticks": 1.0},
]
_QUEUES = ("pessimistic", "optimistic", "proportional", "power", "calibrated")
_QUOTERS = ("cmm", "foic", "liic", "ltiic", "as", "glft")


def plan(quoter: str, changes: Settings) -> Plan:
    config = override(Config(), {"backtest.engine": "both", "features.warm_up_s": 1.0, **changes})
    return Plan(config, quoter, SHIPPED if quoter == "cmm" else None, (0.9, 0.6))  # type: ignore[arg-type]


def agreed(folder: Path, kind: str, seed: int, quoter: str, changes: Settings) -> Episode:
    """The day that a seed makes up, traded in both lanes; raises where they differ."""
    catalog, day = made_day(folder, kind, seed)
    return run_day(catalog, day, plan(quoter, changes))


@settings(max_examples=40)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 10**6),
    quoter=st.sampled_from(_QUOTERS),
    queue=st.sampled_from(_QUEUES),
    groups=st.tuples(
        *(st.sampled_from(group) for group in (_WAYS, _FEES, _GUARDS, _LIMITS, _LADDERS, _DIFFERS, _QUOTES))
    ),
)
def test_the_lanes_agree_on_any_market_under_any_settings(
    kind: str, seed: int, quoter: str, queue: str, groups: tuple[Settings, ...]
) -> None:
    changes: dict[str, Any] = {"venue.queue.model": "fifo" if kind == "orders" and seed % 2 else queue}
    for group in groups:
        changes |= group
    with tempfile.TemporaryDirectory() as folder:
        agreed(Path(folder), kind, seed, quoter, changes)


BIG: Settings = {
    "strategy.ladder.size_lots": 7, "strategy.ladder.size_step_lots": 3, "limits.max_position_lots": 60,
    "strategy.differ.size_tolerance": 0.0, "strategy.offset.offset_ticks": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "seed", "changes", "counted"),
    [
        pytest.param(
            "levels", 3, {"venue.latency.order": {"kind": "quantiles", "quantiles_ms": [0.0, 3_000.0]}}, "too_late",
            id="commands that set out later catch up with those before them",
        ),
        pytest.param(
            "shown", 1, {**_NO_DECISION, "venue.latency.order.ms": 0.0, "guard.fills.fills": 1}, "paused_side",
            id="without latency a command sets out while the event that fills us is worked off",
        ),
        pytest.param(
            "inverse", 2, {**_NO_DECISION, "venue.latency.order.ms": 1_000.0, "guard.data.stale_s": 0.7}, "data_stale",
            id="commands arrive at the moment of a look at the clock",
        ),
        pytest.param("shown", 4, {**BIG, "venue.queue.model": "pessimistic"}, "amend_refused", id="amended while locked"),
        pytest.param("ctp", 1, {"venue.starting_balance": 1_000.0}, "fills", id="the account covers no margin"),
    ],
)  # fmt: skip
def test_what_the_lanes_once_differed_in(tmp_path: Path, kind: str, seed: int, changes: Settings, counted: str) -> None:
    traded = agreed(tmp_path, kind, seed, "foic", changes)
    assert traded.counts.get(counted, 0) > 0
    assert traded.counts["fills"] > 0


@pytest.mark.parametrize("kind", ["orders", "shown"])
def test_tables_grow_where_they_are_full_and_nowhere_else(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_day, "_ROOM", 2)
    monkeypatch.setattr(lane_day, "_LAGS", 4)
    days: list[LaneDay] = []
    record_of = lane_day.LaneRecord
    monkeypatch.setattr(lane_day, "LaneRecord", lambda day, *rest: (days.append(day), record_of(day, *rest))[1])
    narrow = {"guard.data.max_lag_ms": 500.0, "guard.data.lag_window_s": 0.5, "guard.data.healthy_s": 0.0}
    draws = {"venue.latency.order": {"kind": "quantiles", "quantiles_ms": [0.0, 50.0, 700.0]}}
    agreed(tmp_path, kind, 7, "foic", {**narrow, **draws})
    _, exchange, maker, _ = days[0].state
    assert len(maker.orders) < 200
    assert len(exchange.places) < 200
    assert len(maker.lags) < 100


def test_what_is_due_after_the_last_event_waits_for_room_too(tmp_path: Path) -> None:
    catalog, day = made_day(tmp_path, "shown", 1)
    run_of = plan("foic", {"backtest.engine": "fast"})
    market = open_market(catalog, day, run_of)
    traded = LaneDay(plan_day(run_of, catalog, day), market.events, market.path, market.horizon_s, has_model=False)
    traded.run()
    lane, exchange, maker, record = traded.state
    full = exchange._replace(held=exchange.held[:0])
    assert run(lane, full, maker, record, market.events, market.path, len(market.events.kind)) == NEEDS_ROOM


def test_a_recalibrating_maker_learns_alike_from_day_to_day(brief: tuple[Catalog, Day]) -> None:
    catalog, day = brief
    moving = {"model.recalibrate": {"enabled": True, "every_s": 5.0, "sample_s": 0.2}}
    episodes, predictor = run_days(catalog, [day, day], plan("cmm", moving))
    assert predictor is not None
    assert predictor.recalibrator is not None
    assert predictor.recalibrator.refits > 0
    assert (episodes[0].recorder.forecasts != episodes[1].recorder.forecasts).any()


@pytest.mark.parametrize(("balance", "is_said"), [(1.0, True), (1e6, False)])
def test_an_account_below_zero_is_said(tmp_path: Path, balance: float, is_said: bool) -> None:
    catalog, day = made_day(tmp_path, "shown", 1)
    run = plan("foic", {"venue.starting_balance": balance, "backtest.engine": "fast", "backtest.sensitivity": "none"})
    traded = backtest(Task(catalog, [day], run, ["as chosen"]))
    assert traded.notes[0] == "as chosen"
    assert any("the account fell to -" in note for note in traded.notes) == is_said

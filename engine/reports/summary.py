"""The summary of what was traded, per day and in total."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from engine.assembly import quoter_kind
from engine.backtest.backtest import Traded
from engine.backtest.episode import Breakdown, Episode
from engine.backtest.lanes import engine_of
from engine.backtest.metrics import METRICS
from engine.backtest.run_record import fills_sha256
from engine.backtest.sensitivity import Assumptions, Outcome, judge, outcome
from engine.config import QuoterName
from engine.config.simulation import EngineName
from engine.plan import Plan
from models.ensemble import artifact
from venues.simulation.fees import SCENARIOS, FeeScenario, fees_of
from venues.simulation.latency import LatencyConfig
from venues.simulation.queues import QueueConfig


class FeeResult(msgspec.Struct, frozen=True):
    """What the days came to at a fee setting; `requoted` where they were traded under it, not priced anew."""

    epnl: float
    map_lots: float
    pnlmap: float | None
    fills: int
    requoted: bool


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of a day, or of all of them (without a date). The first thirteen are the metrics of the backtest."""

    date: str | msgspec.UnsetType = msgspec.UNSET
    epnl: float | None
    map_lots: float | None
    pnlmap: float | None
    max_position_lots: float | None
    sharpe: float | None
    max_drawdown: float | None
    fill_ratio: float | None
    actions_per_update: float | None
    blind_fill_share: float | None
    markout_0_1s_ticks: float | None = msgspec.field(name="markout_0.1s_ticks")
    markout_1s_ticks: float | None
    markout_10s_ticks: float | None
    markout_60s_ticks: float | None
    pnl: Breakdown
    by_fees: dict[FeeScenario, FeeResult]
    book_updates: int
    order_actions: int
    fills: int
    filled_lots: int
    blind_fills: int
    fills_sha256: str
    counts: dict[str, int]
    wall_s: float
    updates_per_s: int


class Model(msgspec.Struct, frozen=True):
    """The artifact that forecast."""

    path: str
    hash: str
    name: str
    trained_on: list[str]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run came to, as `summary.json` has it.

    Parameters
    ----------
    quoter_sha256 : str or None
        Of the file of a quoter of the user's own.
    engine : str
        The lane that the days were traded in.
    updates_per_s : int
        Book updates a second of the lane's loop alone.
    wall_s : float
        Time that the loops took, under all assumptions.
    decision_ms : list[float]
        Evenly spaced quantiles of our decisions' time on this machine; empty for the fast lane, which times no single
        one. No part of the result; a run with `venue.latency.decision.kind: measured` draws from them.
    sensitivity : Assumptions, optional
        Where the days were traded under other assumptions.
    run : str
        The run's folder; absent where several runs share one.

    """

    instrument: str
    quoter: QuoterName
    quoter_sha256: str | None
    engine: EngineName
    updates_per_s: int
    wall_s: float
    artifact: Model | None
    artifact_hash: str | None
    fee_scenario: FeeScenario
    latency: LatencyConfig
    queue: QueueConfig | None
    decision_ms: list[float]
    currency: str
    intensity: tuple[float, float] | None
    config_hash: str
    notes: list[str]
    episodes: list[Numbers]
    total: Numbers
    sensitivity: Assumptions | None
    run: str | msgspec.UnsetType = msgspec.UNSET


_FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(Numbers)}


def summarise(traded: Traded) -> Summary:
    """Metrics, identity, counters, fills' identity, results at three fee settings and under other assumptions.

    Where the days were not traded under other assumptions, the fills at hand are priced anew.
    """
    plan, episodes = traded.plan, traded.episodes
    cells = traded.grid.cells if traded.grid is not None else []
    own = {c.fees: c.days for c in cells if (c.queue, c.latency) == (plan.config.venue.queue.model, "measured")}
    model = _model(plan.artifact) if plan.artifact is not None else None
    currency = episodes[0].contract.terms.currency
    total = _numbers(episodes, plan, own)
    return Summary(
        instrument=traded.instrument,
        quoter=plan.quoter,
        quoter_sha256=plan.quoter_sha256,
        engine=engine_of(plan),
        updates_per_s=total.updates_per_s,
        wall_s=round(total.wall_s + (traded.grid.wall_s if traded.grid is not None else 0.0), 3),
        artifact=model,
        artifact_hash=model.hash if model is not None else None,
        fee_scenario=plan.config.fees.scenario,
        latency=plan.config.venue.latency,
        queue=plan.queue,
        decision_ms=_decision(episodes),
        currency=currency,
        intensity=plan.intensity,
        config_hash=plan.config.hash,
        notes=traded.notes,
        episodes=[
            _numbers([e], plan, {fees: [days[i]] for fees, days in own.items()}, str(e.date))
            for i, e in enumerate(episodes)
        ],
        total=total,
        sensitivity=judge(traded.grid, plan, currency) if traded.grid is not None else None,
    )


def _model(folder: Path) -> Model:
    manifest = artifact.read(folder)
    return Model(str(folder), manifest.hash, manifest.name, manifest.seen)


def _numbers(
    episodes: Sequence[Episode],
    plan: Plan,
    by_fees: Mapping[FeeScenario, Sequence[Outcome]],
    date: str | msgspec.UnsetType = msgspec.UNSET,
) -> Numbers:
    parts = [msgspec.structs.asdict(e.breakdown) for e in episodes]
    counts: dict[str, int] = {}
    for e in episodes:
        for name, count in e.counts.items():
            counts[name] = counts.get(name, 0) + count
    wall = sum(e.wall_s for e in episodes)
    updates = counts.get("book_updates", 0)
    digest = hashlib.sha256("".join(fills_sha256(e.recorder) for e in episodes).encode()).hexdigest()
    return Numbers(
        **{_FIELDS[metric.name]: metric.compute(episodes) for metric in METRICS},
        date=date,
        pnl=Breakdown(**{name: sum(part[name] for part in parts) for name in parts[0]}),
        by_fees={s: _under(s, episodes, plan, by_fees.get(s)) for s in SCENARIOS},
        book_updates=updates,
        order_actions=sum(sum(e.recorder.actions) for e in episodes),
        fills=sum(len(e.recorder.fills) for e in episodes),
        filled_lots=sum(f.lots for e in episodes for f in e.recorder.fills),
        blind_fills=sum(f.blind for e in episodes for f in e.recorder.fills),
        fills_sha256=digest if len(episodes) != 1 else fills_sha256(episodes[0].recorder),
        counts=dict(sorted(counts.items())),
        wall_s=round(wall, 3),
        updates_per_s=round(updates / wall) if wall else 0,
    )


def _under(
    scenario: FeeScenario, episodes: Sequence[Episode], plan: Plan, traded: Sequence[Outcome] | None
) -> FeeResult:
    """Result at a fee setting, as traded under it or, without that, of the same fills priced anew."""
    if traded is None:
        config = plan.config.fees
        nets = [e.net_under(fees_of(e.contract, scenario, config), config) for e in episodes]
        traded = [msgspec.structs.replace(outcome(e), epnl=net) for e, net in zip(episodes, nets, strict=True)]
    net, span = sum(day.epnl for day in traded), sum(day.span for day in traded)
    held = sum(day.held for day in traded) / span if span else 0.0
    requoted = scenario == plan.config.fees.scenario or (
        quoter_kind(plan.quoter).looks_at_costs and plan.config.backtest.sensitivity == "full"
    )
    return FeeResult(net, held, net / held if held else None, sum(day.fills for day in traded), requoted)


def _decision(episodes: Sequence[Episode]) -> list[float]:
    taken = np.concatenate([e.recorder.decision_ns for e in episodes])
    levels = np.linspace(0.0, 1.0, 41)
    return [round(float(ns) / 1e6, 5) for ns in np.quantile(taken, levels)] if len(taken) else []

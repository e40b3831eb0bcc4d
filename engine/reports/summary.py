"""The summary of a backtest: one JSON object, per episode and in total."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from engine.backtest.backtest import Traded
from engine.backtest.episode import Episode
from engine.backtest.metrics import METRICS
from engine.backtest.run import Plan
from engine.backtest.sensitivity import Outcome, outcome, summarise_grid
from engine.config import FeeScenario
from models.ensemble import artifact
from venues.simulation.fees import SCENARIOS, fees_of


def summarise(traded: Traded) -> dict[str, Any]:
    """Metrics, identity, counters, fills' identity, results at three fee settings and under other assumptions.

    Where the days were not traded under other assumptions, the fills at hand are priced anew.
    """
    plan, episodes, cells = traded.plan, traded.episodes, traded.cells
    own = {c.fees: c.days for c in cells if (c.queue, c.latency) == (plan.config.venue.queue.model, "measured")}
    model: dict[str, Any] | None = None
    if plan.artifact is not None:
        manifest = artifact.read(plan.artifact)
        model = {"path": str(plan.artifact), "hash": manifest.hash, "name": manifest.name, "trained_on": manifest.seen}
    return {
        "instrument": traded.instrument,
        "quoter": plan.quoter,
        "artifact": model,
        "artifact_hash": model["hash"] if model else None,
        "fee_scenario": plan.config.fees.scenario,
        "latency": msgspec.to_builtins(plan.config.venue.latency),
        "queue": msgspec.to_builtins(plan.queue) if plan.queue is not None else None,
        "decision_ms": _decision(episodes),
        "currency": episodes[0].contract.terms.currency,
        "intensity": plan.intensity,
        "config_hash": plan.config.hash,
        "notes": traded.notes,
        "episodes": [
            {"date": str(e.date), **_numbers([e], plan, {s: [days[i]] for s, days in own.items()})}
            for i, e in enumerate(episodes)
        ],
        "total": _numbers(episodes, plan, own),
        "sensitivity": summarise_grid(cells, plan, episodes[0].contract.terms.currency) if cells else None,
    }


def _numbers(
    episodes: Sequence[Episode], plan: Plan, by_fees: Mapping[FeeScenario, Sequence[Outcome]]
) -> dict[str, Any]:
    parts = [msgspec.to_builtins(e.breakdown) for e in episodes]
    counts: dict[str, int] = {}
    for e in episodes:
        for name, count in e.counts.items():
            counts[name] = counts.get(name, 0) + count
    wall = sum(e.wall_s for e in episodes)
    updates = counts.get("book_updates", 0)
    digest = hashlib.sha256("".join(e.tape.fills_sha256() for e in episodes).encode()).hexdigest()
    return {
        **{metric.name: metric.compute(episodes) for metric in METRICS},
        "pnl": {name: sum(part[name] for part in parts) for name in parts[0]},
        "by_fees": {s: _under(s, episodes, plan, by_fees.get(s)) for s in SCENARIOS},
        "book_updates": updates,
        "order_actions": sum(sum(e.tape.actions) for e in episodes),
        "fills": sum(len(e.tape.fills) for e in episodes),
        "filled_lots": sum(f.lots for e in episodes for f in e.tape.fills),
        "blind_fills": sum(f.blind for e in episodes for f in e.tape.fills),
        "fills_sha256": digest if len(episodes) != 1 else episodes[0].tape.fills_sha256(),
        "counts": dict(sorted(counts.items())),
        "wall_s": round(wall, 3),
        "updates_per_s": round(updates / wall) if wall else 0,
    }


def _under(
    scenario: FeeScenario, episodes: Sequence[Episode], plan: Plan, traded: Sequence[Outcome] | None
) -> dict[str, Any]:
    """Result at a fee setting, as traded under it or, without that, of the same fills priced anew."""
    if traded is None:
        config = plan.config.fees
        nets = [e.net_under(fees_of(e.contract, scenario, config), config) for e in episodes]
        traded = [msgspec.structs.replace(outcome(e), epnl=net) for e, net in zip(episodes, nets, strict=True)]
    net, span = sum(day.epnl for day in traded), sum(day.span for day in traded)
    held = sum(day.held for day in traded) / span if span else 0.0
    return {
        "epnl": net,
        "map_lots": held,
        "pnlmap": net / held if held else None,
        "fills": sum(day.fills for day in traded),
        "requoted": scenario == plan.config.fees.scenario
        or (plan.quoter == "cmm" and plan.config.backtest.sensitivity == "full"),
    }


def _decision(episodes: Sequence[Episode]) -> list[float]:
    """Evenly spaced quantiles of our decisions' time on this machine, ms. No part of the result; a run with
    `venue.latency.decision.kind: measured` draws from them."""
    taken = np.concatenate([e.tape.decision_ns for e in episodes])
    levels = np.linspace(0.0, 1.0, 41)
    return [round(float(ns) / 1e6, 5) for ns in np.quantile(taken, levels)] if len(taken) else []

"""The summary of a backtest: one JSON object, per episode and in total."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.backtest import Plan
from engine.config import FeeScenario
from engine.episode import Episode
from engine.fees import SCENARIOS, fees_of
from engine.metrics import MAP, METRICS
from models import artifact


def summarise(
    instrument: str,
    plan: Plan,
    episodes: Sequence[Episode],
    notes: Sequence[str],
    requoted: Mapping[FeeScenario, Sequence[Episode]],
) -> dict[str, Any]:
    """Metrics, identity, counters, fills' identity, and results at three fee settings.

    `requoted` holds the same days traded under other fees, for a quoter that looks at fees; without
    it the fills at hand are priced anew.
    """
    model: dict[str, Any] | None = None
    if plan.artifact is not None:
        manifest = artifact.read(plan.artifact)
        model = {"path": str(plan.artifact), "hash": manifest.hash, "name": manifest.name, "trained_on": manifest.seen}
    return {
        "instrument": instrument,
        "quoter": plan.quoter,
        "artifact": model,
        "artifact_hash": model["hash"] if model else None,
        "fee_scenario": plan.config.fees.scenario,
        "order_latency_ms": plan.config.venue.order_latency_ms,
        "currency": episodes[0].contract.terms.currency,
        "intensity": plan.intensity,
        "config_hash": plan.config.hash,
        "notes": list(notes),
        "episodes": [
            {"date": str(e.date), **_numbers([e], plan, {s: [other[i]] for s, other in requoted.items()})}
            for i, e in enumerate(episodes)
        ],
        "total": _numbers(episodes, plan, requoted),
    }


def _numbers(
    episodes: Sequence[Episode], plan: Plan, requoted: Mapping[FeeScenario, Sequence[Episode]]
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
        "by_fees": {s: _under(s, episodes, plan, requoted.get(s)) for s in SCENARIOS},
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
    scenario: FeeScenario, episodes: Sequence[Episode], plan: Plan, requoted: Sequence[Episode] | None
) -> dict[str, Any]:
    """Result at a fee setting: traded under it, or the same fills priced anew."""
    traded = episodes if scenario == plan.config.fees.scenario else requoted
    held = MAP().compute(traded if traded is not None else episodes) or 0.0
    if traded is not None:
        net = sum(e.breakdown.net for e in traded)
    else:
        net = sum(e.net_under(fees_of(e.contract, scenario, plan.config.fees)) for e in episodes)
    return {
        "epnl": net,
        "map_lots": held,
        "pnlmap": net / held if held else None,
        "fills": sum(len(e.tape.fills) for e in (traded if traded is not None else episodes)),
        "requoted": traded is not None,
    }

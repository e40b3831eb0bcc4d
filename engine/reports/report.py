"""The HTML report of a backtest: one file that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.backtest.episode import Breakdown
from engine.backtest.metrics import SHOWN
from engine.backtest.sensitivity import Assumptions
from engine.plan import Plan
from engine.reports import figures, page
from engine.reports.figures import Runs
from engine.reports.page import Table
from engine.reports.summary import Numbers, Summary
from venues.simulation.latency import LatencyConfig
from venues.simulation.queues import QueueConfig


def write_report(path: Path, summary: Summary, runs: Runs, plan: Plan, others: Sequence[Summary] = ()) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
    summary : Summary
        Of the main run, the first of `runs`.
    runs : sequence of (name, episodes)
        The main run, then those it is compared with.
    plan : Plan
        Of the main run.
    others : sequence of Summary
        Summaries of the compared runs.

    """
    episodes, summaries = runs[0][1], [summary, *others]
    total, table = summary.total, summary.sensitivity
    page.write(
        path,
        "backtest.html",
        f"{summary.instrument} · {summary.quoter}",
        _subtitle(summary),
        kpis=_kpis(summary),
        sensitivity=table,
        grid=_grid(table, summary.currency) if table is not None else None,
        metrics=_metrics(summaries),
        pnl=_pnl(summaries),
        fees=_fees(summaries),
        requoted=all(result.requoted for s in summaries for result in s.total.by_fees.values()),
        equity=figures.equity(runs),
        inventory=figures.inventory(runs),
        quotes=figures.quotes(episodes),
        markout=figures.markout(runs),
        calibration=figures.calibration(episodes, _horizon_s(plan)),
        blind_share=total.blind_fill_share,
        through=total.counts.get("filled_through", 0),
        crossed=total.counts.get("filled_crossed", 0),
        notes=summary.notes,
    )


def _horizon_s(plan: Plan) -> float:
    if plan.artifact is None:
        return plan.config.features.horizon_s
    from models.ensemble import artifact

    return artifact.read(plan.artifact).spec.horizon_s


def _subtitle(summary: Summary) -> str:
    model, table = summary.artifact, summary.sensitivity
    parts = [
        ", ".join(str(day.date) for day in summary.episodes),
        f"fees: {summary.fee_scenario}",
        f"queue: {_queue(summary.queue)}",
        f"latency: {_latency(summary.latency)}",
    ]
    if model is not None:
        parts.append(f"artifact {model.name} {model.hash}")
    if table is not None and table.turns_sign:
        parts.insert(0, table.headline)
    return " · ".join(parts)


def _queue(queue: QueueConfig | None) -> str:
    if queue is None:
        return "calibrated"
    return f"power n {queue.n:.2f} bias {queue.bias:.2f}" if queue.model == "power" else queue.model


def _latency(latency: LatencyConfig) -> str:
    legs = {"decision": latency.decision, "order": latency.order, "feed": latency.feed}
    return " + ".join(
        f"{name} {leg.ms:g} ms" if leg.kind == "constant" else f"{name} {leg.kind}" for name, leg in legs.items()
    )


def _kpis(summary: Summary) -> list[tuple[str, object]]:
    total = summary.total
    return [
        (f"EPnL, {summary.currency}", total.epnl),
        ("PnLMAP", total.pnlmap),
        ("MAP, lots", total.map_lots),
        ("fills", total.fills),
        ("markout 10 s, ticks", total.markout_10s_ticks),
        ("book updates", total.book_updates),
    ]


def _grid(table: Assumptions, currency: str) -> Table:
    """EPnL by queue model and latency (rows) and fees (columns)."""
    return Table([f"EPnL, {currency}", *(f"{fees} fees" for fees in table.fees)], table.rows())


def _metrics(summaries: Sequence[Summary]) -> Table:
    columns: dict[str, Numbers]
    if len(summaries) > 1:
        columns = {s.quoter: s.total for s in summaries}
    else:
        columns = {**{str(day.date): day for day in summaries[0].episodes}, "total": summaries[0].total}
    return Table(["", *columns], [[label, *(getattr(c, name) for c in columns.values())] for name, label in SHOWN])


def _pnl(summaries: Sequence[Summary]) -> Table:
    parts = Breakdown.__struct_fields__
    rows = [[s.quoter, *(getattr(s.total.pnl, part) for part in parts)] for s in summaries]
    return Table(["", *(part.replace("_", " ") for part in parts)], rows)


def _fees(summaries: Sequence[Summary]) -> Table:
    labels = {"epnl": "EPnL", "pnlmap": "PnLMAP", "fills": "fills"}
    columns = [(name, key) for name in summaries[0].total.by_fees for key in labels]
    rows = [[s.quoter, *(getattr(s.total.by_fees[name], key) for name, key in columns)] for s in summaries]
    return Table(["", *(f"{name}: {labels[key]}" for name, key in columns)], rows)

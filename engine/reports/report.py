"""The HTML report of a backtest: one file that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.backtest.metrics import SHOWN
from engine.backtest.run import Plan
from engine.reports import figures, page
from engine.reports.figures import Runs
from engine.reports.page import Table
from engine.reports.sensitivity import by_fees, grid_rows


def write_report(
    path: Path, summary: dict[str, Any], runs: Runs, plan: Plan, others: Sequence[dict[str, Any]] = ()
) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
    summary : dict
        Of the main run, the first of `runs`.
    runs : sequence of (name, episodes)
        The main run, then those it is compared with.
    plan : Plan
        Of the main run.
    others : sequence of dict
        Summaries of the compared runs.

    """
    episodes, summaries = runs[0][1], [summary, *others]
    total, table = summary["total"], summary["sensitivity"]
    page.write(
        path,
        "backtest.html",
        f"{summary['instrument']} · {summary['quoter']}",
        _subtitle(summary),
        kpis=_kpis(summary),
        sensitivity=table,
        grid=_grid(summary) if table is not None else None,
        metrics=_metrics(summaries),
        pnl=_pnl(summaries),
        fees=_fees(summaries),
        requoted=all(r["requoted"] for s in summaries for r in s["total"]["by_fees"].values()),
        equity=figures.equity(runs),
        inventory=figures.inventory(runs),
        quotes=figures.quotes(episodes),
        markout=figures.markout(runs),
        calibration=figures.calibration(episodes, _horizon_s(plan)),
        blind_share=total["blind_fill_share"],
        through=total["counts"].get("filled_through", 0),
        crossed=total["counts"].get("filled_crossed", 0),
        notes=summary["notes"],
    )


def _horizon_s(plan: Plan) -> float:
    if plan.artifact is None:
        return plan.config.features.horizon_s
    from models.ensemble import artifact

    return artifact.read(plan.artifact).spec.horizon_s


def _subtitle(summary: dict[str, Any]) -> str:
    model, table = summary["artifact"], summary["sensitivity"]
    parts = [
        ", ".join(e["date"] for e in summary["episodes"]),
        f"fees: {summary['fee_scenario']}",
        f"queue: {_queue(summary)}",
        f"latency: {_latency(summary)}",
    ]
    if model is not None:
        parts.append(f"artifact {model['name']} {model['hash']}")
    if table is not None and table["turns_sign"]:
        parts.insert(0, table["headline"])
    return " · ".join(parts)


def _queue(summary: dict[str, Any]) -> str:
    queue = summary["queue"]
    if queue is None:
        return "calibrated"
    return f"power n {queue['n']:.2f} bias {queue['bias']:.2f}" if queue["model"] == "power" else str(queue["model"])


def _latency(summary: dict[str, Any]) -> str:
    legs = summary["latency"]
    return " + ".join(
        f"{name} {legs[name]['ms']:g} ms" if legs[name]["kind"] == "constant" else f"{name} {legs[name]['kind']}"
        for name in ("decision", "order", "feed")
    )


def _kpis(summary: dict[str, Any]) -> list[tuple[str, object]]:
    total = summary["total"]
    return [
        (f"EPnL, {summary['currency']}", total["epnl"]),
        ("PnLMAP", total["pnlmap"]),
        ("MAP, lots", total["map_lots"]),
        ("fills", total["fills"]),
        ("markout 10 s, ticks", total["markout_10s_ticks"]),
        ("book updates", total["book_updates"]),
    ]


def _grid(summary: dict[str, Any]) -> Table:
    """EPnL by queue model and latency (rows) and fees (columns)."""
    table = summary["sensitivity"]
    header = [f"EPnL, {summary['currency']}", *(f"{fees} fees" for fees in by_fees(table))]
    return Table(header, grid_rows(table))


def _metrics(summaries: Sequence[dict[str, Any]]) -> Table:
    if len(summaries) > 1:
        header = ["", *(s["quoter"] for s in summaries)]
        columns = [s["total"] for s in summaries]
    else:
        header = ["", *(e["date"] for e in summaries[0]["episodes"]), "total"]
        columns = [*summaries[0]["episodes"], summaries[0]["total"]]
    return Table(header, [[label, *(c[name] for c in columns)] for name, label in SHOWN])


def _pnl(summaries: Sequence[dict[str, Any]]) -> Table:
    parts = ("net", "spread_capture", "drift", "fees", "rebates", "unexplained")
    rows = [[s["quoter"], *(s["total"]["pnl"][part] for part in parts)] for s in summaries]
    return Table(["", *(part.replace("_", " ") for part in parts)], rows)


def _fees(summaries: Sequence[dict[str, Any]]) -> Table:
    labels = {"epnl": "EPnL", "pnlmap": "PnLMAP", "fills": "fills"}
    columns = [(name, key) for name in summaries[0]["total"]["by_fees"] for key in labels]
    rows = [[s["quoter"], *(s["total"]["by_fees"][name][key] for name, key in columns)] for s in summaries]
    return Table(["", *(f"{name}: {labels[key]}" for name, key in columns)], rows)

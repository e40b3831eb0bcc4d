"""The HTML report of a backtest: one file that opens without a network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from engine.backtest.episode import Episode
from engine.backtest.metrics import SHOWN
from engine.backtest.sensitivity import LATENCIES
from engine.plan import Plan
from engine.reports import page
from market.events import BID
from venues.simulation.fees import SCENARIOS

type Runs = Sequence[tuple[str, Sequence[Episode]]]

_POINTS = 6_000
_NO_RANKING = (
    "<p class=note>Each quoter runs on its settings in the configuration; none was tuned for this market. "
    "This is no ranking.</p>"
)
_WINDOW_NS = 5 * 60 * 10**9
_BREAK_NS = 5 * 60 * 10**9
_MARKOUTS_S = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


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
    episodes = runs[0][1]
    summaries = [summary, *others]
    sections = [
        _kpis(summary),
        page.section("Results", _metric_table(summaries), _NO_RANKING if others else ""),
        page.section("Profit and loss", page.figure(_equity(runs)), _pnl_table(summaries)),
        page.section("Inventory", page.figure(_inventory(runs))),
        page.section(
            "Quotes and the book",
            page.figure(_quotes(episodes)),
            "<p class=note>The five minutes with the most fills. Drag to zoom, double-click to reset.</p>",
        ),
        page.section(
            "Markout of fills",
            page.figure(_markout(runs)),
            "<p class=note>Mid price after a time minus the fill price, in our favour, lot-weighted. At 0 s: the spread earned "
            "against the last mid seen before the fill. Falling below zero is adverse selection.</p>",
        ),
    ]
    calibration = _calibration(episodes, _horizon_s(plan))
    if calibration is not None:
        sections.append(
            page.section(
                "Forecast calibration",
                page.figure(calibration),
                "<p class=note>Twenty equal groups of forecasts and what happened on average; bars are two standard errors, "
                "overlapping horizons counted once. Calibrated forecasts lie on the diagonal.</p>",
            )
        )
    if summary["sensitivity"] is not None:
        sections.insert(1, _sensitivity(summary))
    sections.append(_honesty(summary))
    days = ", ".join(e["date"] for e in summary["episodes"])
    title = f"{summary['instrument']} · {summary['quoter']}"
    model = summary["artifact"]
    sub = f"{days} · fees: {summary['fee_scenario']} · queue: {_queue(summary)} · latency: {_latency(summary)}" + (
        f" · artifact {model['name']} {model['hash']}" if model else ""
    )
    if summary["sensitivity"] is not None and summary["sensitivity"]["turns_sign"]:
        sub = f"{summary['sensitivity']['headline']} · {sub}"
    page.write(path, title, sub, sections)


def _horizon_s(plan: Plan) -> float:
    if plan.artifact is None:
        return plan.config.features.horizon_s
    from models.ensemble import artifact

    return artifact.read(plan.artifact).spec.horizon_s


# ── words and tables ──────────────────────────────────────────────────────────────────────────


def _kpis(summary: dict[str, Any]) -> str:
    total = summary["total"]
    cells = [
        (f"EPnL, {summary['currency']}", total["epnl"]),
        ("PnLMAP", total["pnlmap"]),
        ("MAP, lots", total["map_lots"]),
        ("fills", total["fills"]),
        ("markout 10 s, ticks", total["markout_10s_ticks"]),
        ("book updates", total["book_updates"]),
    ]
    boxes = "".join(f"<div class=kpi><b>{page.cell(value)}</b><span>{name}</span></div>" for name, value in cells)
    return f"<div class=kpis>{boxes}</div>"


def _metric_table(summaries: Sequence[dict[str, Any]]) -> str:
    if len(summaries) > 1:
        header = ["", *(s["quoter"] for s in summaries)]
        columns = [s["total"] for s in summaries]
    else:
        header = ["", *(e["date"] for e in summaries[0]["episodes"]), "total"]
        columns = [*summaries[0]["episodes"], summaries[0]["total"]]
    return page.table(header, [[label, *(c[name] for c in columns)] for name, label in SHOWN])


def _pnl_table(summaries: Sequence[dict[str, Any]]) -> str:
    parts = ("net", "spread_capture", "drift", "fees", "rebates", "unexplained")
    rows = [[s["quoter"], *(s["total"]["pnl"][p] for p in parts)] for s in summaries]
    columns = [(name, key) for name in summaries[0]["total"]["by_fees"] for key in ("epnl", "pnlmap", "fills")]
    fees = [[s["quoter"], *(s["total"]["by_fees"][name][key] for name, key in columns)] for s in summaries]
    anew = all(r["requoted"] for s in summaries for r in s["total"]["by_fees"].values())
    labels = {"epnl": "EPnL", "pnlmap": "PnLMAP", "fills": "fills"}
    return (
        "<p class=note>net = spread capture + drift − fees + rebates + unexplained</p>"
        + page.table(["", "net", "spread capture", "drift", "fees", "rebates", "unexplained"], rows)
        + f"<p class=note>At three fee settings ({'run again under each' if anew else 'other fees on the same fills'}):</p>"
        + page.table(["", *(f"{name}: {labels[key]}" for name, key in columns)], fees)
    )


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


def _sensitivity(summary: dict[str, Any]) -> str:
    """EPnL by queue model, latency and fees; the headline warns when the sign hangs on them."""
    table = summary["sensitivity"]
    value = {(c["queue"], c["latency"], c["fees"]): c["epnl"] for c in table["cells"]}
    rows = [
        [f"{queue} queue, {latency} latency", *(value[queue, latency, fees] for fees in SCENARIOS)]
        for queue in dict.fromkeys(c["queue"] for c in table["cells"])
        for latency in LATENCIES
    ]
    header = [f"EPnL, {summary['currency']}", *(f"{fees} fees" for fees in SCENARIOS)]
    anew = "run again for each cell" if table["mode"] == "full" else "run again for each queue and latency"
    words = (
        f"<p class=note>{anew}; low latency {table['latency_low_ms']:g} ms, high {table['latency_high_ms']:g} ms, measured "
        "means as configured. Optimistic: each cancelled lot was ahead of us; pessimistic: behind us.</p>"
    )
    title = "Does the result depend on assumptions?"
    made = page.section(title, f"<p><b>{html.escape(table['headline'])}</b></p>", page.table(header, rows), words)
    return made.replace("<section>", "<section class=warn>", 1) if table["turns_sign"] else made


def _honesty(summary: dict[str, Any]) -> str:
    total = summary["total"]
    share = total["blind_fill_share"]
    through, crossed = (total["counts"].get(name, 0) for name in ("filled_through", "filled_crossed"))
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in summary["notes"])
    unseen = (
        f"{100 * share:.1f}% of the filled lots came from orders outside the depth that the recording shows. "
        "When such a price comes into view, our order stands behind all that is shown; the true queue is unknown."
        if share
        else "No fill came from an order outside the depth that the recording shows."
    )
    return page.section(
        "What this cannot tell",
        f"<ul><li>{unseen}</li>"
        f"<li>{through:,} lots were filled by trades beyond our price and {crossed:,} by books that crossed it: the market had "
        "moved through us.</li>"
        "<li>Not simulated: market impact, reactions to our quotes, hidden liquidity.</li>"
        "<li>Queue positions are estimated from level sizes: the data do not say whether a cancel was ahead of us or behind.</li>"
        "<li>On snapshot feeds trades are spread evenly over the time between two snapshots.</li>"
        f"{notes}</ul>",
    ).replace("<section>", "<section class=warn>", 1)


# ── figures ───────────────────────────────────────────────────────────────────────────────────


def _hours(episodes: Sequence[Episode]) -> list[NDArray[np.float64]]:
    """Trading time since the first episode's start, hours: breaks and nights taken out."""
    start, times = 0.0, []
    for e in episodes:
        steps = np.diff(e.tape.ts_ns, prepend=e.tape.ts_ns[:1]) / 3.6e12
        steps[steps > _BREAK_NS / 3.6e12] = 0.0
        hours = start + np.cumsum(steps)
        times.append(hours)
        start = float(hours[-1]) if len(hours) else start
    return times


def _lines(figure: go.Figure, runs: Runs, values: Any) -> go.Figure:
    for i, (name, episodes) in enumerate(runs):
        carried, xs, ys = 0.0, [], []
        for hours, e in zip(_hours(episodes), episodes, strict=True):
            series = values(e)
            pick = page.thin(len(series), _POINTS // len(episodes))
            xs.append(hours[pick])
            ys.append(series[pick] + carried)
            carried += float(series[-1]) if len(series) and values is _equity_of else 0.0
        figure.add_scatter(
            x=np.concatenate(xs).round(5), y=np.concatenate(ys).round(4), name=name, mode="lines",
            line={"width": 1.6, "color": page.COLOURS[i % 4], "shape": "hv"},
        )  # fmt: skip
    edges = _hours(runs[0][1])
    for hours, e in zip(edges, runs[0][1], strict=True):
        if len(edges) > 1 and len(hours):
            figure.add_vline(
                x=float(hours[0]), line={"width": 1, "dash": "dot", "color": page.GREY}, annotation_text=str(e.date)
            )
    return figure


def _equity_of(e: Episode) -> NDArray[np.float64]:
    return e.equity


def _equity(runs: Runs) -> go.Figure:
    figure = _lines(page.chart(360, "trading hours", f"PnL, {runs[0][1][0].contract.terms.currency}"), runs, _equity_of)
    if len(runs) == 1:
        episodes, xs, gross = runs[0][1], [], []
        carried = 0.0
        for hours, e in zip(_hours(episodes), episodes, strict=True):
            pick = page.thin(len(e.equity), _POINTS // len(episodes))
            series = e.equity + _costs(e)
            xs.append(hours[pick])
            gross.append(series[pick] + carried)
            carried += float(series[-1]) if len(series) else 0.0
        figure.add_scatter(
            x=np.concatenate(xs).round(5), y=np.concatenate(gross).round(4), name="before fees", mode="lines",
            line={"width": 1.2, "color": page.GREY, "dash": "dot"},
        )  # fmt: skip
        figure.data[0].name = "after fees"
    return figure


def _costs(e: Episode) -> NDArray[np.float64]:
    flow = np.zeros(len(e.tape.ts_ns))
    if len(flow):
        np.add.at(flow, e.fill_index, np.array([f.commission for f in e.tape.fills]))
    return np.cumsum(flow)


def _inventory(runs: Runs) -> go.Figure:
    return _lines(page.chart(240, "trading hours", "position, lots"), runs, lambda e: e.position.astype(np.float64))


def _quotes(episodes: Sequence[Episode]) -> go.Figure:
    e = max(episodes, key=lambda one: len(one.tape.fills))
    tape, tick = e.tape, e.contract.tick
    figure = page.chart(420, "time (UTC)", "price")
    if not len(tape.ts_ns):
        return figure
    first = _busiest(e)
    inside = np.flatnonzero((tape.ts_ns >= first) & (tape.ts_ns < first + _WINDOW_NS))
    inside = inside[page.thin(len(inside), _POINTS)]
    times = tape.ts_ns[inside].astype("datetime64[ns]").astype("datetime64[us]")
    columns = tape.columns[inside].astype(np.float64)
    columns[:, 3:][columns[:, 3:] == 0] = np.nan
    for name, column, colour, dash in (
        ("best bid", 0, page.GREY, "solid"),
        ("best ask", 1, page.GREY, "solid"),
        ("our bid", 3, page.BUY, "dot"),
        ("our ask", 4, page.SELL, "dot"),
    ):
        figure.add_scatter(
            x=times, y=(columns[:, column] * tick).round(8), name=name, mode="lines", connectgaps=False,
            line={"shape": "hv", "width": 1.4, "color": colour, "dash": dash},
        )  # fmt: skip
    for side, colour, symbol in ((BID, page.BUY, "triangle-up"), (3 - BID, page.SELL, "triangle-down")):
        fills = [f for f in tape.fills if f.side == side and first <= f.ts_ns < first + _WINDOW_NS]
        figure.add_scatter(
            x=np.array([f.ts_ns for f in fills], "datetime64[ns]").astype("datetime64[us]"),
            y=[round(f.price_ticks * tick, 8) for f in fills],
            name="bought" if side == BID else "sold",
            mode="markers",
            text=[f"{f.lots} lots{' (queue not visible)' if f.blind else ''}" for f in fills],
            marker={
                "symbol": [f"{symbol}-open" if f.blind else symbol for f in fills],
                "size": 9, "color": colour, "line": {"width": 1.5, "color": colour},
            },
        )  # fmt: skip
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(tickformat=f".{e.contract.price_precision}f")
    return figure


def _busiest(e: Episode) -> int:
    """Start of the window with the most fills; the episode's middle when there are none."""
    ts = e.tape.ts_ns
    if not e.tape.fills:
        return int(ts[len(ts) // 2])
    times = np.array([f.ts_ns for f in e.tape.fills])
    counts = np.searchsorted(times, times + _WINDOW_NS) - np.arange(len(times))
    return int(times[int(counts.argmax())]) - 10**9


def _markout(runs: Runs) -> go.Figure:
    figure = page.chart(320, "seconds after the fill", "ticks in our favour")
    for i, (name, episodes) in enumerate(runs):
        means, errors = [], []
        for seconds in _MARKOUTS_S:
            marks = np.concatenate([e.markouts(seconds) for e in episodes])
            lots = np.concatenate([np.abs(e.signed_lots) for e in episodes]).astype(np.float64)
            known = ~np.isnan(marks)
            means.append(float(np.average(marks[known], weights=lots[known])) if known.any() else np.nan)
            errors.append(2.0 * float(marks[known].std() / np.sqrt(max(known.sum(), 1))) if known.any() else np.nan)
        figure.add_scatter(
            x=[f"{s:g}" for s in _MARKOUTS_S], y=np.round(means, 4), name=name, mode="lines+markers",
            error_y={"array": np.round(errors, 4), "width": 2, "thickness": 1}, line={"color": page.COLOURS[i % 4], "width": 1.8},
        )  # fmt: skip
    figure.update_xaxes(type="category")
    figure.add_hline(y=0, line={"width": 1, "color": page.GREY})
    return figure


def _calibration(episodes: Sequence[Episode], horizon_s: float) -> go.Figure | None:
    horizon = round(horizon_s * 1e9)
    predicted, realised, spans = [], [], 0.0
    for e in episodes:
        ts, forecast = e.tape.ts_ns, e.tape.forecasts[:, 0]
        if not len(ts):
            continue
        index = np.searchsorted(ts, ts + horizon, side="right") - 1
        usable = ~np.isnan(forecast) & (ts + horizon <= ts[-1]) & (ts + horizon - ts[index] < horizon)
        predicted.append(forecast[usable].astype(np.float64))
        realised.append(e.tape.mids[index[usable]] - e.tape.mids[usable])
        spans += usable.sum() and float(ts[usable][-1] - ts[usable][0]) / horizon
    x, y = (np.concatenate(v) if v else np.zeros(0) for v in (predicted, realised))
    if len(x) < 1_000:
        return None
    groups = np.array_split(np.argsort(x, kind="stable"), 20)
    means = [float(x[g].mean()) for g in groups]
    outcome = [float(y[g].mean()) for g in groups]
    independent = max(spans / len(groups), 1.0)  # horizons that do not overlap, a group
    errors = [2.0 * float(y[g].std()) / np.sqrt(independent) for g in groups]
    figure = page.chart(360, f"forecast mid change over {horizon_s:g} s, ticks", "actual mid change, ticks")
    reach = max(abs(means[0]), abs(means[-1]))
    figure.add_scatter(
        x=[-reach, reach], y=[-reach, reach], mode="lines", name="calibrated", line={"color": page.GREY, "dash": "dot"}
    )
    figure.add_scatter(
        x=np.round(means, 4), y=np.round(outcome, 4), mode="markers", name=f"groups (IC {np.corrcoef(x, y)[0, 1]:.3f})",
        error_y={"array": np.round(errors, 4), "width": 3}, marker={"size": 8, "color": page.COLOURS[0]},
    )  # fmt: skip
    figure.update_layout(hovermode="closest")
    return figure

"""The page of a comparison: where the difference comes from, when it came, and each fill."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from engine.compare.comparison import LABELS, Comparison, DayShown, FillShown, latency_text
from engine.compare.matching import Fate
from engine.compare.split import CAUSES
from engine.config import Config
from engine.reports import page
from engine.reports.numbers import number
from engine.reports.page import Table

_LISTED = 300
_FATES: dict[Fate, tuple[str, str, str]] = {
    "same": ("both", page.GREY, "circle"),
    "other_time": ("both, at other times", page.COLOURS[0], "circle-open"),
    "other_size": ("both, other lots", page.COLOURS[3], "diamond-open"),
    "ours_only": ("the run only", page.BUY, "triangle-up"),
    "theirs_only": ("the backtest only", page.SELL, "triangle-down"),
}
"""Label, colour and symbol by what became of a fill."""

_CAUSES: dict[str, str] = {
    "latency": "commands took another time to arrive than assumed",
    "data": "the trader saw market data late or not at all",
    "fees": "other fee settings, and what the exchange charged",
    "guards_and_limits": "other limits, and times without quotes: guard, pauses, halts, start and end",
    "queue": "the same orders filled otherwise, and what followed from that",
    "unexplained": "other orders for no reason that is known here",
}


def write_page(path: Path, done: Comparison, assumed: Config) -> None:
    """Write the page; the backtest's assumptions are named in it."""
    dates = ", ".join(day.date for day in done.days)
    queue = assumed.venue.queue.model
    sub = (
        f"{dates} · {done.run} · the backtest assumes {latency_text(assumed.venue.latency)} ms to the exchange, "
        f"queue {queue}, fees {assumed.fees.scenario}"
    )
    page.write(
        path,
        "compare.html",
        f"{done.instrument} · {done.quoter} · {'live' if done.mode == 'live' else 'paper'} against backtest",
        sub,
        headline=done.headline,
        kpis=[
            (f"PnL of the run, {done.currency}", done.pnl.run),
            (f"PnL of the backtest, {done.currency}", done.pnl.backtest),
            ("difference", done.pnl.difference),
            ("fills of the run", done.fills["run"]),
            ("fills of the backtest", done.fills["backtest"]),
            ("the same", done.fills["same"]),
        ],
        waterfall=_waterfall(done),
        split=Table(
            ["cause", done.currency, "fills touched"],
            [[f"{LABELS[c]}: {_CAUSES[c]}", done.split[c], done.changed[c]] for c in CAUSES],
        ),
        fills=Table(["", *_COUNTED.values()], [["fills", *(done.fills[name] for name in _COUNTED)]]),
        by_fills=Table(
            [f"difference, {done.currency}", *_BY_FILLS.values()], [["", *(done.by_fills[name] for name in _BY_FILLS)]]
        ),
        growth=_growth(done),
        places=_places(done),
        days=[(day.date, _steps(day), _measures(day)) for day in done.days],
        listed=_list(done),
        left_out=max(sum(fill.fate != "same" for fill in _all(done)) - _LISTED, 0),
        notes=done.notes,
    )


_COUNTED: dict[str, str] = {
    "run": "run", "backtest": "backtest", **{str(fate): label for fate, (label, _, _) in _FATES.items()},
}  # fmt: skip
_BY_FILLS = {"extra": "extra fills", "missed": "missed fills", "sizes": "other lots", "fees": "fees"}


def _all(done: Comparison) -> list[FillShown]:
    return [fill for day in done.days for fill in day.matched]


def _waterfall(done: Comparison) -> go.Figure:
    figure = page.chart(340, "", f"PnL, {done.currency}")
    causes = list(CAUSES)
    figure.add_waterfall(
        x=["backtest", *(LABELS[cause] for cause in causes), "run"],
        y=[done.pnl.backtest, *(done.split[cause] for cause in causes), 0.0],
        measure=["absolute", *("relative" for _ in causes), "total"],
        increasing={"marker": {"color": page.BUY}}, decreasing={"marker": {"color": page.SELL}},
        totals={"marker": {"color": page.COLOURS[0]}}, connector={"line": {"color": page.GREY, "width": 1}},
        text=[number(value) for value in (done.pnl.backtest, *done.split.values(), done.pnl.run)],
        textposition="outside", cliponaxis=False, showlegend=False,
    )  # fmt: skip
    figure.update_layout(hovermode="closest")
    return figure


def _growth(done: Comparison) -> go.Figure:
    """The difference as it came, fill by fill."""
    figure = page.chart(300, "time (UTC)", f"difference, {done.currency}")
    total, times, sums = 0.0, [], []
    for fill in _all(done):
        total += fill.worth
        times.append(_when(fill))
        sums.append(round(total, 8))
    figure.add_scatter(
        x=_utc(times), y=sums, mode="lines", name="run − backtest",
        line={"shape": "hv", "width": 1.6, "color": page.COLOURS[0]},
    )  # fmt: skip
    return figure


def _places(done: Comparison) -> go.Figure:
    """Each fill in time and price."""
    figure = page.chart(380, "time (UTC)", "price")
    for fate, (label, colour, symbol) in _FATES.items():
        fills = [fill for fill in _all(done) if fill.fate == fate]
        figure.add_scatter(
            x=_utc([_when(fill) for fill in fills]), y=[fill.price for fill in fills], name=label, mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9 if fate != "same" else 6},
            text=[f"{fill.side} {fill.ours_lots or 0} / {fill.theirs_lots or 0} lots" for fill in fills],
        )  # fmt: skip
    figure.update_layout(hovermode="closest")
    return figure


def _when(fill: FillShown) -> int:
    return min(ts for ts in (fill.ours_ts, fill.theirs_ts) if ts is not None)


def _utc(times: list[int]) -> object:
    import numpy as np

    return np.array(times, "datetime64[ns]").astype("datetime64[us]")


def _steps(day: DayShown) -> Table:
    rows = [[f"{LABELS[s.cause]}: {s.what}", s.share, s.pnl, s.gained, s.lost, s.moved, s.repriced] for s in day.steps]
    header = ["one after the other", "share", "PnL after it", "fills more", "less", "other time or lots", "other fees"]
    return Table(header, rows)


def _measures(day: DayShown) -> Table:
    latency, data, guard = day.latency, day.data, day.guard
    rows: list[list[object]] = [
        ["latency assumed, ms", latency.assumed_ms],
        ["latency measured, ms", _quantiles(latency.measured_ms) or "not measured"],
        ["commands sent, answered, refused", f"{latency.commands:,}, {latency.answered:,}, {latency.refused:,}"],
        ["book updates in the recording", data.updates],
    ]
    if data.seen is not None and data.late_share is not None:
        rows.append(["book updates that the trader saw", data.seen])
        late = f"{100 * data.late_share:.1f}% of the time" + (
            f" ({_quantiles(data.late_ms)} ms)" if data.late_ms else ""
        )
        rows.append(["data seen late", late])
    rows += [[f"without quotes: {reason}, s", seconds] for reason, seconds in guard.away_s.items()]
    rows += [[f"a limit bound: {name}, s", seconds] for name, seconds in guard.bound_s.items()]
    rows += [[f"in the backtest: {name}", count] for name, count in guard.backtest.items()]
    return Table(["measured", ""], rows)


def _quantiles(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _list(done: Comparison) -> Table:
    """The fills that differ."""
    rows = [fill for fill in _all(done) if fill.fate != "same"][:_LISTED]
    return Table(
        ["what", "side", "price", "run, UTC", "backtest, UTC", "lots", "backtest's lots", f"worth, {done.currency}"],
        [
            [
                _FATES[f.fate][0], f.side, f"{f.price:.12g}", _clock(f.ours_ts), _clock(f.theirs_ts), f.ours_lots,
                f.theirs_lots, f.worth,
            ]
            for f in rows
        ],
    )  # fmt: skip


def _clock(ts_ns: int | None) -> str:
    return "–" if ts_ns is None else str(_utc([ts_ns])[0]).partition("T")[2][:12]  # type: ignore[index]

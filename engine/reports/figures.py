"""The figures of a backtest's report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from engine.backtest.episode import Episode
from engine.backtest.run_record import parts
from engine.reports import page
from market.events import BID

type Runs = Sequence[tuple[str, Sequence[Episode]]]
"""Episodes by the name of their quoter; the main run first."""

_POINTS = 6_000
_WINDOW_NS = 5 * 60 * 10**9
_GROUPS = 20
_BREAK_NS = 5 * 60 * 10**9
_MARKOUTS_S = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


class _Shown(NamedTuple):
    """Updates of an episode that a line shows, ends included, and their trading hours."""

    updates: NDArray[np.int64]
    hours: NDArray[np.float64]


def _shown(episodes: Sequence[Episode]) -> list[_Shown]:
    """Trading time since the first episode's start, hours: breaks and nights taken out."""
    start, found = 0.0, []
    for e in episodes:
        ts = e.recorder.ts_ns
        updates = page.thin(len(ts), _POINTS // len(episodes))
        hours, passed = np.empty(len(updates)), 0.0
        for part in parts(len(ts)):
            steps = np.diff(ts[part], prepend=ts[max(part.start - 1, 0)]) / 3.6e12
            steps[steps > _BREAK_NS / 3.6e12] = 0.0
            steps[0] += passed
            steps = np.cumsum(steps)
            inside = slice(*np.searchsorted(updates, (part.start, part.stop)))
            hours[inside] = start + steps[updates[inside] - part.start]
            passed = float(steps[-1])
        found.append(_Shown(updates, hours))
        start = float(hours[-1]) if len(hours) else start
    return found


def _lines(figure: go.Figure, runs: Runs, values: Callable[[Episode, NDArray[np.int64]], NDArray[Any]]) -> go.Figure:
    for i, (name, episodes) in enumerate(runs):
        carried, xs, ys = 0.0, [], []
        for shown, e in zip(_shown(episodes), episodes, strict=True):
            series = values(e, shown.updates)
            xs.append(shown.hours)
            ys.append(series + carried)
            carried += float(series[-1]) if len(series) and values is _equity_of else 0.0
        figure.add_scatter(
            x=np.concatenate(xs).round(5), y=np.concatenate(ys).round(4), name=name, mode="lines",
            line={"width": 1.6, "color": page.COLOURS[i % 4], "shape": "hv"},
        )  # fmt: skip
    episodes = runs[0][1]
    for shown, e in zip(_shown(episodes) if len(episodes) > 1 else [], episodes, strict=False):
        if len(shown.hours):
            figure.add_vline(
                x=float(shown.hours[0]), line={"width": 1, "dash": "dot", "color": page.GREY},
                annotation_text=str(e.date),
            )  # fmt: skip
    return figure


def _equity_of(e: Episode, updates: NDArray[np.int64]) -> NDArray[np.float64]:
    return e.equity[updates]


def equity(runs: Runs) -> go.Figure:
    """PnL over trading hours; of one run alone, before fees too."""
    figure = _lines(page.chart(360, "trading hours", f"PnL, {runs[0][1][0].contract.terms.currency}"), runs, _equity_of)
    if len(runs) == 1:
        episodes, xs, gross = runs[0][1], [], []
        carried = 0.0
        for shown, e in zip(_shown(episodes), episodes, strict=True):
            costs = e.running(np.array([f.commission for f in e.recorder.fills]))
            series = e.equity[shown.updates] + costs.at(shown.updates)
            xs.append(shown.hours)
            gross.append(series + carried)
            carried += float(series[-1]) if len(series) else 0.0
        figure.add_scatter(
            x=np.concatenate(xs).round(5), y=np.concatenate(gross).round(4), name="before fees", mode="lines",
            line={"width": 1.2, "color": page.GREY, "dash": "dot"},
        )  # fmt: skip
        figure.data[0].name = "after fees"
    return figure


def inventory(runs: Runs) -> go.Figure:
    """Position over trading hours."""
    return _lines(page.chart(240, "trading hours", "position, lots"), runs, lambda e, at: e.held.at(at))


def quotes(episodes: Sequence[Episode]) -> go.Figure:
    """Our quotes and fills against the book, in the five minutes with the most fills."""
    e = max(episodes, key=lambda one: len(one.recorder.fills))
    recorder, tick = e.recorder, e.contract.tick
    figure = page.chart(420, "time (UTC)", "price")
    ts = recorder.ts_ns
    if not len(ts):
        return figure
    first = _busiest(e)
    inside = np.arange(*np.searchsorted(ts, (first, first + _WINDOW_NS)))
    inside = inside[page.thin(len(inside), _POINTS)]
    times = ts[inside].astype("datetime64[ns]").astype("datetime64[us]")
    columns = recorder.quotes(inside).astype(np.float64)
    columns[columns == 0] = np.nan
    for name, column, colour, dash in (
        ("best bid", 0, page.GREY, "solid"),
        ("best ask", 1, page.GREY, "solid"),
        ("our bid", 2, page.BUY, "dot"),
        ("our ask", 3, page.SELL, "dot"),
    ):
        figure.add_scatter(
            x=times, y=(columns[:, column] * tick).round(8), name=name, mode="lines", connectgaps=False,
            line={"shape": "hv", "width": 1.4, "color": colour, "dash": dash},
        )  # fmt: skip
    for side, colour, symbol in ((BID, page.BUY, "triangle-up"), (3 - BID, page.SELL, "triangle-down")):
        fills = [f for f in recorder.fills if f.side == side and first <= f.ts_ns < first + _WINDOW_NS]
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
    ts = e.recorder.ts_ns
    if not e.recorder.fills:
        return int(ts[len(ts) // 2])
    times = np.array([f.ts_ns for f in e.recorder.fills])
    counts = np.searchsorted(times, times + _WINDOW_NS) - np.arange(len(times))
    return int(times[int(counts.argmax())]) - 10**9


def markout(runs: Runs) -> go.Figure:
    """Lot-weighted mid after a time minus fill price, in our favour, with two standard errors."""
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
            error_y={"array": np.round(errors, 4), "width": 2, "thickness": 1},
            line={"color": page.COLOURS[i % 4], "width": 1.8},
        )  # fmt: skip
    figure.update_xaxes(type="category")
    figure.add_hline(y=0, line={"width": 1, "color": page.GREY})
    return figure


def calibration(episodes: Sequence[Episode], horizon_s: float) -> go.Figure | None:
    """Forecast mid changes in twenty groups against what happened; None with too few to tell."""
    predicted, realised, spans = _outcomes(episodes, round(horizon_s * 1e9))
    if len(predicted) < 1_000:
        return None
    means, outcome, spreads = [], [], []
    for group in sorted_groups(predicted, _GROUPS):
        means.append(float(predicted[group].astype(np.float64).mean()))
        outcome.append(float(realised[group].mean()))
        spreads.append(2.0 * float(realised[group].std()))
    independent = max(spans / _GROUPS, 1.0)  # horizons that do not overlap, a group
    errors = np.array(spreads) / np.sqrt(independent)
    figure = page.chart(360, f"forecast mid change over {horizon_s:g} s, ticks", "actual mid change, ticks")
    reach = max(abs(means[0]), abs(means[-1]))
    figure.add_scatter(
        x=[-reach, reach], y=[-reach, reach], mode="lines", name="calibrated", line={"color": page.GREY, "dash": "dot"}
    )
    together = _correlation(predicted, realised)
    figure.add_scatter(
        x=np.round(means, 4), y=np.round(outcome, 4), mode="markers", name=f"groups (IC {together:.3f})",
        error_y={"array": np.round(errors, 4), "width": 3}, marker={"size": 8, "color": page.COLOURS[0]},
    )  # fmt: skip
    figure.update_layout(hovermode="closest")
    return figure


def sorted_groups(values: NDArray[np.float32], groups: int) -> Iterator[NDArray[np.int64]]:
    """Indices of values, smallest first, in groups of one size: the parts of a stable argsort, without all of it."""
    ordered, start = np.sort(values), 0
    for group in np.array_split(ordered, groups):
        if not len(group):
            continue
        inside = np.flatnonzero((values >= group[0]) & (values <= group[-1]))
        alike = start - int(np.searchsorted(ordered, group[0]))  # of the earlier groups
        yield inside[np.argsort(values[inside], kind="stable")][alike : alike + len(group)]
        start += len(group)


def _outcomes(episodes: Sequence[Episode], horizon: int) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Forecast and actual mid changes where both are known, ticks; and how many horizons, ns, they span."""
    predicted, realised, spans = [np.zeros(0, np.float32)], [np.zeros(0)], 0.0
    for e in episodes:
        forecast, mids, ts = e.recorder.mid_forecasts, e.recorder.mids, e.recorder.ts_ns
        count, known = 0, [0, 0]
        for part in parts(len(ts)):
            until = ts[part] + horizon
            index = np.searchsorted(ts, until, side="right") - 1
            usable = ~np.isnan(forecast[part]) & (until <= ts[-1]) & (until - ts[index] < horizon)
            into = slice(count, count + int(usable.sum()))  # what lies before this part is not read any more
            change = mids[index[usable]] - mids[part][usable]
            forecast[into], mids[into], count = forecast[part][usable], change, into.stop
            if usable.any():
                times = ts[part][usable]
                known = [known[0] or int(times[0]), int(times[-1])]
        predicted.append(forecast[:count])
        realised.append(mids[:count])
        spans += (known[1] - known[0]) / horizon
    if len(predicted) == 2:  # a copy of the only day's would be the most that a report takes
        return predicted[1], realised[1], spans
    return np.concatenate(predicted), np.concatenate(realised), spans


def _correlation(x: NDArray[np.float32], y: NDArray[np.float64]) -> float:
    """Pearson's, without a copy of both."""
    centre = (float(x.mean(dtype=np.float64)), float(y.mean()))
    xx = yy = xy = 0.0
    for part in parts(len(x)):
        a, b = x[part].astype(np.float64) - centre[0], y[part] - centre[1]
        xx, yy, xy = xx + float(a @ a), yy + float(b @ b), xy + float(a @ b)
    return xy / float(np.sqrt(xx * yy)) if xx and yy else float("nan")

"""`cmm inspect`: what recordings are worth, as a table, JSON and a page of plots."""

from __future__ import annotations

import html
from typing import Any

import click
import msgspec
import numpy as np
import plotly.graph_objects as go

from engine import console, page, select
from engine.commands import open_catalog
from engine.config import Config
from engine.runs import final_name, run_folder, write_json
from venues.catalog import Catalog, Day
from venues.contracts import Contract
from venues.errors import DataError
from venues.quality import Quality, Series, measure
from venues.verdict import Verdict, judge, worst

_POINTS = 5_000
_SAID = {"usable": "usable", "care": "usable with care", "unusable": "not usable"}
_ROWS = (
    ("first", "first arrival"),
    ("last", "last arrival"),
    ("covered_s", "two-sided book, s"),
    ("depth", "levels shown (0: all)"),
    ("book_updates", "book updates"),
    ("updates_per_s", "updates a second"),
    ("touch_changes", "changes of the touch"),
    ("trades", "trades"),
    ("traded_lots", "traded lots"),
    ("buy_share", "share bought"),
    ("trades_outside_spread", "trades outside the touch"),
    ("gap_s", "gaps over 5 s within sessions, total s"),
    ("crossed", "crossed books"),
    ("one_sided", "one-sided books"),
    ("spread_ticks_mean", "spread, ticks (time mean)"),
    ("touch_lots_mean", "size at the touch, lots"),
    ("levels_mean", "levels a side"),
    ("mid_range_ticks", "range of mid, ticks"),
)


def inspect_instrument(config: Config, instrument: str, dates: str | None, as_json: bool) -> None:
    """Measure the days of an instrument and write a page of plots."""
    catalog = open_catalog(config)
    chosen = select.days(catalog, instrument, dates)
    measured: list[tuple[Quality, Series]] = []
    with console.bar("inspecting") as update:
        for index, day in enumerate(chosen):
            update(str(day.date), index / len(chosen))
            measured.append(measure(catalog, day))
    qualities = [quality for quality, _ in measured]
    verdicts = [judge(quality, config.inspect) for quality in qualities]
    word = worst(verdicts)
    with run_folder(config, "inspect", {"instrument": instrument, "dates": dates}) as folder:
        contract = catalog.contract(chosen[0])
        write_json(folder / "quality.json", [_with_verdict(q, v) for q, v in zip(qualities, verdicts, strict=True)])
        page.write(
            folder / "inspect.html", f"{chosen[0].instrument} · recordings", "", _sections(measured, verdicts, contract)
        )
        report = final_name(folder) / "inspect.html"
    if as_json:
        days = [_with_verdict(q, v) for q, v in zip(qualities, verdicts, strict=True)]
        summary = {
            "instrument": chosen[0].instrument,
            "verdict": word,
            "reasons": [f"{q.date}: {text}" for q, v in zip(qualities, verdicts, strict=True) for text in v.reasons],
            "days": days,
            "page": str(report),
        }
        click.echo(msgspec.json.encode(summary))
        return
    columns = {q.date: msgspec.to_builtins(q) for q in qualities}
    rows = [[label, *(c[name] for c in columns.values())] for name, label in _ROWS]
    rows.append(["verdict", *(_SAID[v.verdict] for v in verdicts)])
    rows.append(
        ["left out or changed", *("\n".join(f"{k} {v:,}" for k, v in q.drops.items()) or "–" for q in qualities)]
    )
    console.stdout.print(console.table(chosen[0].instrument, ["", *columns], rows))
    for quality, verdict in zip(qualities, verdicts, strict=True):
        for reason in verdict.reasons:
            console.stdout.print(f"{quality.date}: {reason}", markup=False)
    console.stdout.print(f"{chosen[0].instrument}: {_SAID[word]}", markup=False)
    console.stdout.print(f"plots {report}", markup=False)


def refuse_unusable(config: Config, catalog: Catalog, chosen: list[Day], anyway: bool) -> list[str]:
    """Notes on days whose recording is unusable; raises where there is one, unless `anyway`."""
    notes = []
    for day in chosen:
        verdict = judge(measure(catalog, day)[0], config.inspect)
        if verdict.verdict != "unusable":
            continue
        said = f"{day.instrument} {day.date} is not usable: {verdict.reasons[0]}"
        if not anyway:
            raise DataError(f"{said}; see cmm inspect, or give --anyway to trade it all the same")
        notes.append(f"WARNING: {said}")
    return notes


def _with_verdict(quality: Quality, verdict: Verdict) -> dict[str, Any]:
    return {**msgspec.to_builtins(quality), **msgspec.to_builtins(verdict)}


def _sections(measured: list[tuple[Quality, Series]], verdicts: list[Verdict], contract: Contract) -> list[str]:
    columns = [msgspec.to_builtins(q) for q, _ in measured]
    rows: list[list[Any]] = [[label, *(c[name] for c in columns)] for name, label in _ROWS]
    sections = [page.section("Days", page.table(["", *(c["date"] for c in columns)], rows))]
    for (quality, series), verdict in list(zip(measured, verdicts, strict=True))[:10]:
        reasons = "".join(f"<li>{html.escape(text)}</li>" for text in verdict.reasons)
        parts = [f"<p>{_SAID[verdict.verdict]}</p>", f"<ul>{reasons}</ul>" if reasons else ""]
        parts += [page.figure(_prices(series, contract)), page.figure(_spreads(quality)), page.figure(_rate(series))]
        if quality.gaps:
            gaps = [[gap.start, gap.seconds] for gap in sorted(quality.gaps, key=lambda g: -g.seconds)[:12]]
            parts.append(page.table(["gap starts", "seconds"], gaps))
        sections.append(page.section(quality.date, *parts))
    return sections


def _times(ts_ns: Any) -> Any:
    return np.asarray(ts_ns, np.int64).astype("datetime64[ns]").astype("datetime64[us]")


def _prices(series: Series, contract: Contract) -> go.Figure:
    chart = page.chart(320, "time (UTC)", "price")
    pick = page.thin(len(series.ts_ns), _POINTS)
    times, mids = _times(series.ts_ns)[pick], (np.asarray(series.mid)[pick] * contract.tick).round(8)
    chart.add_scatter(x=times, y=mids, name="mid", mode="lines", line={"width": 1.3, "shape": "hv", "color": page.GREY})
    for side, name, colour in ((1, "buyer took", page.BUY), (2, "seller took", page.SELL)):
        mine = [t for t in series.trades if t[3] == side]
        mine = [mine[i] for i in page.thin(len(mine), 1_500)]
        chart.add_scatter(
            x=_times([t[0] for t in mine]), y=[round(t[1] * contract.tick, 8) for t in mine], name=name, mode="markers",
            text=[f"{t[2]} lots" for t in mine], marker={"size": 4, "color": colour, "opacity": 0.6},
        )  # fmt: skip
    chart.update_layout(hovermode="closest")
    chart.update_yaxes(tickformat=f".{contract.price_precision}f")
    return chart


def _spreads(quality: Quality) -> go.Figure:
    chart = page.chart(220, "spread, ticks", "share of updates")
    shares = quality.spread_ticks_shares
    chart.add_bar(x=list(shares), y=list(shares.values()), marker={"color": page.COLOURS[0]})
    chart.update_xaxes(type="category")
    return chart


def _rate(series: Series) -> go.Figure:
    """Sampled updates a minute: where the recording is thin or silent."""
    chart = page.chart(220, "time (UTC)", "updates/min")
    minutes, counts = np.unique(np.asarray(series.ts_ns, np.int64) // (60 * 10**9), return_counts=True)
    chart.add_bar(x=_times(minutes * 60 * 10**9), y=counts, marker={"color": page.COLOURS[0]})
    return chart

"""What recordings are worth: measures of each day, and a page of plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import plotly.graph_objects as go

from engine.config import Config
from engine.progress import SILENT, Progress
from engine.recordings.catalog import open_catalog, select_days
from engine.reports import page
from engine.runs import final_name, run_folder
from market.contracts import Contract
from market.files import write_json
from venues.recordings.quality import Quality, Series, measure
from venues.recordings.verdict import Verdict, Word, judge, worst

_POINTS = 5_000
_PLOTTED_DAYS, _GAPS = 10, 12
_SAID: dict[Word, str] = {"usable": "usable", "care": "usable with care", "unusable": "not usable"}
_MEASURES = (
    ("first", "first arrival"),
    ("last", "last arrival"),
    ("covered_s", "two-sided book, s"),
    ("depth", "levels shown (0: all)"),
    ("book_updates", "book updates"),
    ("updates_per_s", "updates per second"),
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
    ("levels_mean", "levels per side"),
    ("mid_range_ticks", "range of mid, ticks"),
)


class JudgedDay(Quality, kw_only=True):
    """A day's quality with the verdict on it."""

    verdict: Word
    reasons: list[str]


class Inspection(msgspec.Struct, frozen=True):
    """The days of an instrument, measured and judged, and the page of plots; `verdict` is that of the worst day."""

    instrument: str
    verdict: Word
    reasons: list[str]
    days: list[JudgedDay]
    page: str


def inspect_instrument(
    config: Config, instrument: str, dates: str | None = None, progress: Progress = SILENT
) -> Inspection:
    """Measure the days of an instrument (`a,b` or `a..b`, all without dates) and write a page of plots."""
    catalog = open_catalog(config)
    chosen = select_days(catalog, instrument, dates)
    measured: list[tuple[Quality, Series]] = []
    with progress.share("inspecting") as update:
        for index, day in enumerate(chosen):
            update(str(day.date), index / len(chosen))
            measured.append(measure(catalog, day))
    verdicts = [judge(quality, config.inspect) for quality, _ in measured]
    days = [_judged(quality, verdict) for (quality, _), verdict in zip(measured, verdicts, strict=True)]
    reasons = [f"{day.date}: {text}" for day in days for text in day.reasons]
    with run_folder(config, "inspect", {"instrument": instrument, "dates": dates}) as folder:
        contract = catalog.contract(chosen[0])
        write_json(folder / "quality.json", days, indented=True)
        _write_page(folder / "inspect.html", days, [series for _, series in measured], contract)
    page_path = str(final_name(folder) / "inspect.html")
    return Inspection(chosen[0].instrument, worst(verdicts), reasons, days, page_path)


def said(word: Word) -> str:
    """A verdict as people say it."""
    return _SAID[word]


def _judged(quality: Quality, verdict: Verdict) -> JudgedDay:
    measures = {name: getattr(quality, name) for name in Quality.__struct_fields__}
    return JudgedDay(**measures, verdict=verdict.verdict, reasons=verdict.reasons)


def measures(days: Sequence[JudgedDay]) -> list[list[object]]:
    """A row for each measure: its label, then its value on each day."""
    rows: list[list[object]] = [[label, *(getattr(day, name) for day in days)] for name, label in _MEASURES]
    return [*rows, ["verdict", *(_SAID[day.verdict] for day in days)]]


def _write_page(path: Path, days: list[JudgedDay], series: list[Series], contract: Contract) -> None:
    page.write(
        path,
        "inspection.html",
        f"{days[0].instrument} · recordings",
        "",
        days=page.Table(["", *(day.date for day in days)], measures(days)),
        plots=[
            {
                "date": day.date,
                "verdict": _SAID[day.verdict],
                "reasons": day.reasons,
                "prices": _prices(columns, contract),
                "spreads": _spreads(day),
                "rate": _rate(columns),
                "gaps": [[gap.start, gap.seconds] for gap in sorted(day.gaps, key=lambda g: -g.seconds)[:_GAPS]],
            }
            for day, columns in list(zip(days, series, strict=True))[:_PLOTTED_DAYS]
        ],
    )


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

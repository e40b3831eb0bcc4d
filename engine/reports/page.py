"""The look that all pages share: one HTML file, plots included, that opens without a network."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from engine.reports.numbers import number

COLOURS = ("#1f5fa8", "#c4572b", "#3b8a55", "#7a5aa6")
BUY, SELL, GREY = "#1b7f5c", "#c0392b", "#8a94a0"

_STYLE = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;background:#f4f6f8;margin:0}
main{max-width:1180px;margin:0 auto;padding:24px 16px 64px}h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:0 0 8px}
.sub{color:#5b6875;margin:0 0 18px}section{background:#fff;border:1px solid #dde3e9;border-radius:8px;padding:16px;margin:0 0 16px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:5px 8px;text-align:right;border-bottom:1px solid #eef1f4}
th:first-child,td:first-child{text-align:left}th{color:#5b6875;font-weight:600}.kpis{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px;margin:0 0 16px}
.kpi{background:#fff;border:1px solid #dde3e9;border-radius:8px;padding:10px 12px}.kpi b{display:block;font-size:20px}.kpi>span{color:#5b6875;font-size:13px}
.warn{border-left:4px solid #c4572b}.neg{color:#c0392b}p.note{color:#5b6875;font-size:13.5px;margin:8px 0 0}.scroll{overflow-x:auto}
"""


def write(path: Path, title: str, subtitle: str, sections: Sequence[str]) -> None:
    """Write a page; it takes its name when it is whole."""
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><script>{get_plotlyjs()}</script>"
        f"<main><h1>{html.escape(title)}</h1><p class=sub>{html.escape(subtitle)}</p>{''.join(sections)}</main></html>"
    )
    beside = path.with_suffix(".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def section(title: str, *parts: str) -> str:
    """A titled box."""
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"


def cell(value: Any) -> str:
    """A value as a cell shows it; negative numbers in red."""
    negative = isinstance(value, float | int) and value < 0
    return f"<span class=neg>{number(value)}</span>" if negative else html.escape(number(value))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; the first column holds words."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in header)
    body = "".join(
        f"<tr><td>{html.escape(str(row[0]))}</td>{''.join(f'<td>{cell(v)}</td>' for v in row[1:])}</tr>" for row in rows
    )
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def figure(chart: go.Figure) -> str:
    """A chart as a part of the page."""
    text: str = chart.to_html(
        full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    return text


def chart(height: int, x: str, y: str) -> go.Figure:
    """An empty chart with axis titles."""
    made = go.Figure()
    made.update_layout(
        height=height,
        margin={"l": 64, "r": 16, "t": 12, "b": 44},
        template="plotly_white",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
        xaxis_title=x,
        yaxis_title=y,
    )
    return made


def thin(count: int, points: int) -> NDArray[np.int64]:
    """Indices of at most `points` of `count` samples, ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, points)).astype(np.int64)) if count else np.zeros(0, np.int64)

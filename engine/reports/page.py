"""The look that all pages share: one HTML file, plots included, that opens without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from engine.reports.numbers import number
from market.files import write_whole

COLOURS = ("#1f5fa8", "#c4572b", "#3b8a55", "#7a5aa6")
BUY, SELL, GREY = "#1b7f5c", "#c0392b", "#8a94a0"


class Table(NamedTuple):
    """A table of a page; the first column holds words."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


def write(path: Path, template: str, title: str, subtitle: str, **parts: object) -> None:
    """Fill in a template of this folder; the page takes its name when it is whole.

    Parameters
    ----------
    path : Path
    template : str
        Its name; it extends `page.html`.
    title, subtitle : str
    parts : object
        What the template names: figures, tables, texts. All text is escaped.

    """
    page = _ENVIRONMENT.get_template(template)
    text = page.render(title=title, subtitle=subtitle, plotly=Markup(get_plotlyjs()), **parts)
    write_whole(path, text.encode())


def _cell(value: object) -> Markup:
    """A value as a cell shows it; negative numbers in red."""
    text = escape(number(value))
    return Markup("<span class=neg>{}</span>").format(text) if isinstance(value, float | int) and value < 0 else text


def _figure(made: go.Figure) -> Markup:
    """A figure; its name on the page follows from what it shows, so that the same results are the same bytes."""
    name = hashlib.sha256(made.to_json().encode()).hexdigest()[:16]
    settings = {"displaylogo": False, "responsive": True}
    return Markup(made.to_html(full_html=False, include_plotlyjs=False, config=settings, div_id=f"figure-{name}"))


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"cell": _cell, "figure": _figure}


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

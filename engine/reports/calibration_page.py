"""The page of a calibration: scores, reliability curves, times to fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from engine.calibration.calibrate import TRUTH, Calibration
from engine.calibration.hypothetical_orders import AGES, HypotheticalOrders
from engine.config import CalibrateConfig
from engine.reports import page
from engine.reports.page import Table

_JUDGED = ("fill_rate_bias", "markout_bias_ticks")
SCORES = (
    ("fill_rate", "fill rate"),
    ("fill_rate_true", "true"),
    ("fill_rate_bias", "bias"),
    ("fill_error", "wrong fates"),
    ("ahead_bias_lots", "queue bias, lots"),
    ("ahead_error_lots", "|error|, lots"),
    ("ahead_error_share", "|error|, share"),
    ("time_to_fill_bias_s", "time to fill, s"),
    ("markout_ticks", "markout, ticks"),
    ("markout_bias_ticks", "bias"),
)
"""Scores of a queue model that tables show, with their labels."""


def write_page(path: Path, found: Calibration, held: HypotheticalOrders, settings: CalibrateConfig) -> None:
    """Write the page of a calibration: `held` are the hypothetical orders that it is judged on."""
    n, bias = found.n, found.bias
    sub = (
        f"{', '.join(found.days)} · calibrated n = {n.value:.3f} [{n.low:.3f}, {n.high:.3f}], bias = {bias.value:.3f} "
        f"[{bias.low:.3f}, {bias.high:.3f}] on {found.cancels:,} cancels · {len(held.joined):,} hypothetical orders"
    )
    page.write(
        path,
        "calibration.html",
        f"{found.instrument} · queue models",
        sub,
        settings=settings,
        ages=", ".join(f"{age * settings.horizon_s:g}" for age in AGES),
        scores=Table(["model", *(label for _, label in SCORES)], _rows(found, [key for key, _ in SCORES])),
        intervals=Table(
            ["95% interval of", "fill rate bias ≥", "≤", "markout bias ≥", "≤"],
            _rows(found, [f"{key}_{end}" for key in _JUDGED for end in ("low", "high")]),
        ),
        reliability=_reliability(held),
        survival=_survival(held, settings.horizon_s),
    )


def _rows(found: Calibration, keys: list[str]) -> list[list[object]]:
    return [[model, *(scores[key] for key in keys)] for model, scores in found.models.items()]


def _reliability(held: HypotheticalOrders) -> go.Figure:
    figure = page.chart(380, "believed share of the first queue", "true share")
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="right", line={"color": page.GREY, "dash": "dot", "width": 1}
    )
    start = np.maximum(held.start[:, None], 1.0)
    truth = held.fates[TRUTH].ahead / start
    for i, name in enumerate(name for name in held.fates if name not in (TRUTH, "nautilus")):
        believed = held.fates[name].ahead / start
        known = ~np.isnan(believed) & ~np.isnan(truth) & (believed > 0)
        x, y = believed[known], truth[known]
        groups = [g for g in np.array_split(np.argsort(x, kind="stable"), 10) if len(g)]
        figure.add_scatter(
            x=[round(float(x[g].mean()), 4) for g in groups], y=[round(float(y[g].mean()), 4) for g in groups],
            name=name, mode="lines+markers", line={"color": page.COLOURS[i % 4], "width": 1.8},
        )  # fmt: skip
    figure.update_layout(hovermode="closest")
    return figure


def _survival(held: HypotheticalOrders, horizon_s: float) -> go.Figure:
    figure = page.chart(340, "seconds", "share filled")
    grid = np.linspace(0.0, horizon_s, 61)
    colours = {TRUTH: "#1c2733", "nautilus": page.GREY}
    rest = iter(page.COLOURS)
    for name, fate in held.fates.items():
        done = np.sort(fate.filled_s[~np.isnan(fate.filled_s)])
        share = np.searchsorted(done, grid, side="right") / max(len(fate.filled_s), 1)
        colour = colours.get(name) or next(rest)
        label = "truth" if name == TRUTH else name
        dash = "dot" if name == "nautilus" else "solid"
        figure.add_scatter(
            x=grid.round(3), y=share.round(4), name=label, mode="lines",
            line={"color": colour, "width": 2.6 if name == TRUTH else 1.6, "dash": dash},
        )  # fmt: skip
    return figure

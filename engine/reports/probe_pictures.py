"""Pictures of a probe, for the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.reports import page
from market.errors import ConfigError
from market.files import written_beside

TASK_COLOURS = {"mid": page.COLOURS[0], "spread": page.COLOURS[1], "volume": page.COLOURS[2]}
SEPARATION = {
    "silhouette": "silhouette",
    "cka_task": "CKA across tasks",
    "cka_data": "CKA across regimes",
    "cka_layer": "CKA across layers",
}
"""Measures of how far apart the students are, with their labels."""


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ConfigError("pictures need matplotlib: pip install 'cmm[train]'") from error
    return pyplot


def draw_probe(probe: dict[str, Any], path: Path) -> None:
    """Profiles above, responses below, a column for each regime."""
    pyplot = _pyplot()
    layers, cells = probe["layers"], probe["cells"]
    regimes = list(dict.fromkeys(cell["regime"] for cell in cells))
    chart, axes = pyplot.subplots(
        2, len(regimes), figsize=(4.4 * len(regimes), 7), constrained_layout=True, squeeze=False
    )
    for column, regime in enumerate(regimes):
        mine = [cell for cell in cells if cell["regime"] == regime]
        top, bottom = axes[0][column], axes[1][column]
        image = top.imshow(
            np.array([cell["profile"] for cell in mine]), aspect="auto", cmap="viridis",
            extent=(layers[0] - 0.5, layers[-1] + 0.5, len(mine) - 0.5, -0.5),
        )  # fmt: skip
        top.set_yticks(range(len(mine)), [c["task"] + (" (dark)" if c["dark"] else "") for c in mine])
        top.set_title(regime)
        chart.colorbar(image, ax=top, shrink=0.8, label="NFP" if column == len(regimes) - 1 else None)
        for a, _ in probe["groups"][1:]:
            top.axvline(a - 0.5, color="white", lw=1)
        for cell in mine:
            colour = TASK_COLOURS[cell["task"]]
            bottom.plot(layers, cell["response"], color=colour, label=cell["task"])
            band = probe["dark_below"] * cell["noise"]
            bottom.axhspan(cell["background"] - band, cell["background"] + band, color=colour, alpha=0.08, lw=0)
            for name, style in (("input", ":"), ("random weights", "--")):
                if name in cell["controls"]:
                    bottom.axhline(cell["controls"][name], color=colour, ls=style, lw=1)
        bottom.set_xlabel("layer")
        bottom.grid(alpha=0.25)
    axes[1][0].set_ylabel("correlation, held out")
    axes[1][0].legend(frameon=False)
    chart.suptitle("Normalized fluorescent probe (dotted: input alone, dashed: random weights, shaded: noise band)")
    _save(chart, path)


def draw_separation(sweep: list[dict[str, Any]], path: Path) -> None:
    """Silhouette and similarity of the students over the strength of the decoupling."""
    pyplot = _pyplot()
    swept = [s for s in sweep if s["strength"] is not None]
    chart, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    x = range(len(swept))
    left.plot(x, [s["silhouette"] for s in swept], "o-", color=page.COLOURS[0])
    left.set_title("silhouette of the students' clusters")
    for key, name in list(SEPARATION.items())[1:]:
        right.plot(x, [s[key] for s in swept], "o-", label=name)
    right.set_title("similarity of students that differ in one axis")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xticks(list(x), [f"{s['strength']:g} x" for s in swept])
        axes.set_xlabel("strength of the decoupling")
        axes.grid(alpha=0.25)
    _save(chart, path)


def _save(chart: Any, path: Path) -> None:
    with written_beside(path) as beside:
        chart.savefig(beside, format="png", dpi=110, metadata={"Software": None})
    _pyplot().close(chart)

"""What the teacher's layers know: a page and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import plotly.graph_objects as go

from engine.reports import page
from engine.reports.page import Table
from engine.reports.probe_pictures import SEPARATION, TASK_COLOURS, draw_probe, draw_separation
from market.errors import ConfigError
from models.ensemble import artifact

_DASHES = {"input": "dot", "random weights": "dash"}
CONTROLS = ("input", "as loaded", "random weights")
"""What the layers are held against, by the names of the probe."""


class Probe(msgspec.Struct, frozen=True):
    """What an artifact's probe measured, and the pages that show it."""

    measured: dict[str, Any]
    page: Path
    pictures: list[Path]


def show_probe(folder: Path) -> Probe:
    """Read the probe of an artifact and write its page and pictures into the folder.

    Raises
    ------
    ConfigError
        No language model taught the artifact.

    """
    measured, _ = _load(folder)
    written = write_pages(folder)
    return Probe(measured, written[0], written[1:])


def write_pages(folder: Path) -> list[Path]:
    """Write probe.html, probe.png and, where it was measured, separation.png."""
    probe, metrics = _load(folder)
    written = [folder / "probe.html", folder / "probe.png"]
    page.write(
        written[0],
        "probe.html",
        f"{folder.name} · probe",
        _subtitle(probe),
        heat=_heat(probe),
        dark_below=probe["dark_below"],
        profiles=[(regime, _profiles(probe, regime)) for regime in dict.fromkeys(c["regime"] for c in probe["cells"])],
        numbers=_numbers(probe),
        separation=_separation(metrics["separation"]) if "separation" in metrics else None,
    )
    draw_probe(probe, written[1])
    if "separation" in metrics:
        written.append(folder / "separation.png")
        draw_separation(metrics["separation"], written[2])
    return written


def _load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    manifest = artifact.read(folder)
    if artifact.PROBE not in manifest.files:
        raise ConfigError(f"{folder}: no language model taught this artifact ({manifest.kind}), so there is no probe")
    probe = msgspec.json.decode((folder / artifact.PROBE).read_bytes())
    metrics = msgspec.json.decode((folder / artifact.METRICS).read_bytes())
    return probe, metrics


def _subtitle(probe: dict[str, Any]) -> str:
    groups = ", ".join(f"{a}–{b}" for a, b in probe["groups"])
    return f"normalized fluorescent probe · layer groups {groups} (from {probe['groups_from']})"


def _heat(probe: dict[str, Any]) -> go.Figure:
    cells = probe["cells"]
    heat = page.chart(360, "layer", "")
    heat.add_trace(
        go.Heatmap(
            x=probe["layers"], y=[_name(cell) for cell in cells], z=[cell["profile"] for cell in cells],
            colorscale="Viridis", colorbar={"title": "NFP"},
        )
    )  # fmt: skip
    heat.update_layout(yaxis={"autorange": "reversed"}, hovermode="closest")
    return heat


def _profiles(probe: dict[str, Any], regime: str) -> go.Figure:
    layers = probe["layers"]
    lines = page.chart(320, "layer", "correlation, held out")
    for cell in (c for c in probe["cells"] if c["regime"] == regime):
        colour = TASK_COLOURS[cell["task"]]
        low, high = (cell["background"] + sign * probe["dark_below"] * cell["noise"] for sign in (-1, 1))
        lines.add_trace(
            go.Scatter(
                x=[*layers, *layers[::-1]], y=[high] * len(layers) + [low] * len(layers), fill="toself",
                fillcolor=colour, opacity=0.08, line={"width": 0}, hoverinfo="skip", showlegend=False,
            )
        )  # fmt: skip
        lines.add_trace(go.Scatter(x=layers, y=cell["response"], name=cell["task"], line={"color": colour}))
        for name, dash in _DASHES.items():
            if name in cell["controls"]:
                level = cell["controls"][name]
                lines.add_trace(
                    go.Scatter(
                        x=[layers[0], layers[-1]], y=[level, level], name=f"{cell['task']}: {name}",
                        line={"color": colour, "dash": dash, "width": 1},
                    )
                )  # fmt: skip
    return lines


def _numbers(probe: dict[str, Any]) -> Table:
    measured = ("cell", "windows", "best layer", "response", "embedding")
    rows = [
        [
            _name(cell), cell["windows"], str(cell["peak_layer"]), cell["best"], cell["response"][0],
            *(cell["controls"].get(name) for name in CONTROLS), cell["background"], cell["snr"], *claims(cell),
        ]
        for cell in probe["cells"]
    ]  # fmt: skip
    return Table([*measured, *CONTROLS, "background", "SNR", "shares", "P(win)"], rows)


def claims(cell: dict[str, Any]) -> tuple[str, str]:
    """Shares of the layer groups in a cell's response, and the winning one's probability: none where it is dark."""
    shares = " / ".join(f"{share:.2f}" for share in cell["group_shares"])
    return shares, "dark" if cell["dark"] else f"{cell['winning_probability']:.2f}"


def _separation(sweep: list[dict[str, Any]]) -> go.Figure:
    swept = [s for s in sweep if s["strength"] is not None]
    lines = page.chart(320, "strength of the decoupling", "")
    for key, name in SEPARATION.items():
        lines.add_trace(go.Scatter(x=[f"{s['strength']:g} x" for s in swept], y=[s[key] for s in swept], name=name))
    return lines


def _name(cell: dict[str, Any]) -> str:
    return f"{cell['task']}, {cell['regime']}{' (dark)' if cell['dark'] else ''}"

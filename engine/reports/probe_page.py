"""`cmm probe`: what the teacher's layers know, as a table, JSON, a page and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import plotly.graph_objects as go

from engine.cli import console
from engine.reports import page
from market.errors import ConfigError
from models.ensemble import artifact

_TASK_COLOURS = {"mid": page.COLOURS[0], "spread": page.COLOURS[1], "volume": page.COLOURS[2]}
_CONTROLS = ("input", "as loaded", "random weights")


def show_probe(folder: Path, as_json: bool) -> None:
    """Print the probe of an artifact and write its page and pictures into the folder."""
    probe, _ = _load(folder)
    pages = write_pages(folder)
    if as_json:
        click.echo(msgspec.json.encode(probe | {"page": str(pages[0]), "pictures": [str(p) for p in pages[1:]]}))
        return
    rows = []
    for cell in probe["cells"]:
        claim = "dark" if cell["dark"] else f"{cell['winning_probability']:.2f}"
        shares = " / ".join(f"{share:.2f}" for share in cell["group_shares"])
        best = [cell["best"], cell["response"][0], *(cell["controls"].get(name) for name in _CONTROLS)]
        rows.append([cell["regime"], cell["task"], str(cell["peak_layer"]), *best, cell["snr"], shares, claim])
    columns = ["regime", "task", "best layer", "response", "embedding", *_CONTROLS, "SNR", "shares of groups", "P(win)"]
    groups = ", ".join(f"{a}–{b}" for a, b in probe["groups"])
    console.stdout.print(console.table(f"probe {folder}: layer groups {groups}", columns, rows))
    console.stdout.print(f"page {pages[0]}", markup=False)


def write_pages(folder: Path) -> list[Path]:
    """Write probe.html, probe.png and, where it was measured, separation.png."""
    probe, metrics = _load(folder)
    written = [folder / "probe.html", folder / "probe.png"]
    page.write(written[0], f"{folder.name} · probe", _subtitle(probe), _sections(probe, metrics))
    _draw_probe(probe, written[1])
    if "separation" in metrics:
        written.append(folder / "separation.png")
        _draw_separation(metrics["separation"], written[2])
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


def _sections(probe: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    layers, cells = probe["layers"], probe["cells"]
    names = [_name(cell) for cell in cells]
    heat = page.chart(360, "layer", "")
    heat.add_trace(
        go.Heatmap(
            x=layers, y=names, z=[cell["profile"] for cell in cells], colorscale="Viridis", colorbar={"title": "NFP"}
        )
    )
    heat.update_layout(yaxis={"autorange": "reversed"}, hovermode="closest")
    parts = [
        page.section(
            "Which layer knows what",
            page.figure(heat),
            "<p class=note>Share of a layer in the response above background, on the validation split. Dark cells rise less "
            f"than {probe['dark_below']:g} sigma above the noise: no claim is made about them.</p>",
        )
    ]
    for regime in dict.fromkeys(cell["regime"] for cell in cells):
        lines = page.chart(320, "layer", "correlation, held out")
        for cell in (c for c in cells if c["regime"] == regime):
            colour = _TASK_COLOURS[cell["task"]]
            low, high = (cell["background"] + sign * probe["dark_below"] * cell["noise"] for sign in (-1, 1))
            lines.add_trace(
                go.Scatter(
                    x=[*layers, *layers[::-1]], y=[high] * len(layers) + [low] * len(layers), fill="toself",
                    fillcolor=colour, opacity=0.08, line={"width": 0}, hoverinfo="skip", showlegend=False,
                )
            )  # fmt: skip
            lines.add_trace(go.Scatter(x=layers, y=cell["response"], name=cell["task"], line={"color": colour}))
            dashes = {"input": "dot", "random weights": "dash"}
            for name, dash in dashes.items():
                if name in cell["controls"]:
                    level = cell["controls"][name]
                    lines.add_trace(
                        go.Scatter(
                            x=[layers[0], layers[-1]], y=[level, level], name=f"{cell['task']}: {name}",
                            line={"color": colour, "dash": dash, "width": 1},
                        )
                    )  # fmt: skip
        note = "<p class=note>Shaded: background with its noise band. Dotted: the input alone. Dashed: best layer with random weights.</p>"
        parts.append(page.section(f"Profiles, {regime}", page.figure(lines), note))
    columns = [
        "cell",
        "windows",
        "best layer",
        "response",
        "embedding",
        *_CONTROLS,
        "background",
        "SNR",
        "shares",
        "P(win)",
    ]
    rows = []
    for cell in cells:
        controls = [cell["controls"].get(name) for name in _CONTROLS]
        shares = " / ".join(f"{share:.2f}" for share in cell["group_shares"])
        claim = "dark" if cell["dark"] else f"{cell['winning_probability']:.2f}"
        rows.append(
            [_name(cell), cell["windows"], str(cell["peak_layer"]), cell["best"], cell["response"][0], *controls, cell["background"],
             cell["snr"], shares, claim]
        )  # fmt: skip
    parts.append(page.section("Numbers", page.table(columns, rows)))
    if "separation" in metrics:
        parts.append(_separation_section(metrics["separation"]))
    return parts


def _separation_section(sweep: list[dict[str, Any]]) -> str:
    swept = [s for s in sweep if s["strength"] is not None]
    x = [f"{s['strength']:g} x" for s in swept]
    lines = page.chart(320, "strength of the decoupling", "")
    for key, name in _SEPARATION.items():
        lines.add_trace(go.Scatter(x=x, y=[s[key] for s in swept], name=name))
    note = "<p class=note>Students of this sweep were trained for a few epochs only. CKA is 1 where two students contain the same information.</p>"
    return page.section("Separation of the students", page.figure(lines), note)


_SEPARATION = {
    "silhouette": "silhouette",
    "cka_task": "CKA across tasks",
    "cka_data": "CKA across regimes",
    "cka_layer": "CKA across layers",
}


def _name(cell: dict[str, Any]) -> str:
    return f"{cell['task']}, {cell['regime']}{' (dark)' if cell['dark'] else ''}"


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ConfigError("pictures need matplotlib: pip install 'cmm[train]'") from error
    return pyplot


def _draw_probe(probe: dict[str, Any], path: Path) -> None:
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
            colour = _TASK_COLOURS[cell["task"]]
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


def _draw_separation(sweep: list[dict[str, Any]], path: Path) -> None:
    pyplot = _pyplot()
    swept = [s for s in sweep if s["strength"] is not None]
    chart, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    x = range(len(swept))
    left.plot(x, [s["silhouette"] for s in swept], "o-", color=page.COLOURS[0])
    left.set_title("silhouette of the students' clusters")
    for key, name in list(_SEPARATION.items())[1:]:
        right.plot(x, [s[key] for s in swept], "o-", label=name)
    right.set_title("similarity of students that differ in one axis")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xticks(list(x), [f"{s['strength']:g} x" for s in swept])
        axes.set_xlabel("strength of the decoupling")
        axes.grid(alpha=0.25)
    _save(chart, path)


def _save(chart: Any, path: Path) -> None:
    beside = path.with_suffix(".tmp")
    chart.savefig(beside, format="png", dpi=110, metadata={"Software": None})
    beside.replace(path)
    _pyplot().close(chart)

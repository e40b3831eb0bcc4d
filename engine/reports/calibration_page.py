"""`cmm calibrate`: the table, the reliability curves, the file for backtests."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import click
import msgspec
import numpy as np
import plotly.graph_objects as go

from engine.backtest import select
from engine.calibration import calibrate as calibration
from engine.calibration.calibrate import TRUTH, Calibration
from engine.calibration.hypothetical_orders import AGES, L3Day, Phantoms, load
from engine.cli import console
from engine.cli.commands import open_catalog
from engine.config import Config
from engine.reports import page
from engine.runs import final_name, run_folder, write_json
from market.errors import DataError
from venues.recordings.catalog import Catalog
from venues.recordings.importer import import_events
from venues.recordings.simulator import SYMBOL, simulate_orders

_START_NS = 1_583_139_600 * 10**9  # 2 March 2020, 09:00 UTC
_COLUMNS = (
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


def run_calibrate(
    config: Config, instrument: str | None, dates: str | None, simulated: float | None, as_json: bool
) -> None:
    """Fit and judge queue models on recordings that name orders, or on the simulated market."""
    if (instrument is None) == (simulated is None):
        raise DataError("name an instrument with --instrument, or the length of a simulated market with --simulated")
    arguments = {"instrument": instrument, "dates": dates, "simulated": simulated}
    with run_folder(config, "calibrate", arguments) as folder, tempfile.TemporaryDirectory(prefix="cmm-queues-") as own:
        catalog = open_catalog(config)
        if simulated is not None:
            days = _simulate(Catalog(Path(own), catalog.contracts), simulated * 60.0, config.calibrate.seed)
        else:
            days = _recorded(catalog, instrument or "", dates)
        name = days[0].day.instrument
        with console.bar("calibrating") as update:
            found, held = calibration.calibrate(days, name, config.calibrate, lambda share: update(name, share))
        write_json(folder / "calibration.json", found)
        _write_page(folder / "report.html", found, held, config)
    if simulated is None:
        calibration.save(calibration.path_of(catalog, name), found)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    rows = [[model, *(scores[key] for key, _ in _COLUMNS)] for model, scores in found.models.items()]
    phantoms = int(found.calibrated["phantoms"] or 0)
    title = f"{name} · {', '.join(found.days)} · {phantoms:,} hypothetical orders"
    console.stdout.print(console.table(title, ["queue model", *(label for _, label in _COLUMNS)], rows))
    n, bias = found.n, found.bias
    console.stdout.print(
        f"calibrated: n = {n.value:.2f} [{n.low:.2f}, {n.high:.2f}], bias = {bias.value:.2f} [{bias.low:.2f}, "
        f"{bias.high:.2f}], fitted on {found.cancels:,} cancels of the time before",
        markup=False,
    )
    console.stdout.print(f"report {final_name(folder) / 'report.html'}", markup=False)


def _recorded(catalog: Catalog, instrument: str, dates: str | None) -> list[L3Day]:
    chosen = select.days(catalog, instrument, dates)
    named = [day for day in chosen if day.orders]
    if not named:
        raise DataError(
            f"{chosen[0].instrument}: no recording names its orders (L3), so that true queues are not known; import "
            "one that does (Bitstamp orders, CME market-by-order), again if an older version imported it"
        )
    with console.bar("reading") as update:
        days = []
        for i, day in enumerate(named):
            update(str(day.date), i / len(named))
            days.append(load(catalog, day))
    traded = [day for day in days if day.day.trades]
    if not traded:
        raise DataError(
            f"{chosen[0].instrument}: nothing traded on {', '.join(str(d.date) for d in named)}; give more days"
        )
    return traded


def _simulate(catalog: Catalog, seconds: float, seed: int) -> list[L3Day]:
    with console.bar("simulating") as update:
        done = import_events(
            catalog, simulate_orders(seed, seconds, _START_NS), SYMBOL, "simulator", [], Counter(),
            lambda _, n: update(f"{n:,} events", n / (55.0 * seconds)),
        )  # fmt: skip
    return [load(catalog, done.days[0])]


def _write_page(path: Path, found: Calibration, held: Phantoms, config: Config) -> None:
    c = config.calibrate
    rows = [[model, *(scores[key] for key, _ in _COLUMNS)] for model, scores in found.models.items()]
    intervals = [
        [
            model,
            *(scores[f"{key}_{end}"] for key in ("fill_rate_bias", "markout_bias_ticks") for end in ("low", "high")),
        ]
        for model, scores in found.models.items()
    ]
    sections = [
        page.section(
            "Queue models against the truth",
            page.table(["model", *(label for _, label in _COLUMNS)], rows),
            f"<p class=note>Hypothetical one-lot orders joined the back of one of the {c.levels} best levels of a side "
            f"and were followed for {c.horizon_s:g} s; markout after {c.markout_s:g} s. Truth: order ids. Biases "
            f"are model minus truth, queue errors at {', '.join(f'{age * c.horizon_s:g}' for age in AGES)} s.</p>",
            page.table(["95% interval of", "fill rate bias ≥", "≤", "markout bias ≥", "≤"], intervals),
            f"<p class=note>Blocks of {c.block_s:g} s resampled {c.draws} times.</p>",
        ),
        page.section(
            "Queue ahead of us",
            page.figure(_reliability(held)),
            "<p class=note>Share of the first queue that a model believes is ahead of it, in ten equal groups, "
            "against the share that truly was. The diagonal is correct; below it the model is too pessimistic.</p>",
        ),
        page.section(
            "Time to fill",
            page.figure(_survival(held, c.horizon_s)),
            "<p class=note>Share of the hypothetical orders filled within a time.</p>",
        ),
    ]
    n, bias = found.n, found.bias
    sub = (
        f"{', '.join(found.days)} · calibrated n = {n.value:.3f} [{n.low:.3f}, {n.high:.3f}], bias = {bias.value:.3f} "
        f"[{bias.low:.3f}, {bias.high:.3f}] on {found.cancels:,} cancels · {len(held.joined):,} hypothetical orders"
    )
    page.write(path, f"{found.instrument} · queue models", sub, sections)


def _reliability(held: Phantoms) -> go.Figure:
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


def _survival(held: Phantoms, horizon_s: float) -> go.Figure:
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

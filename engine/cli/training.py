"""`cmm train`: from days of the catalog, or a simulated market, to an artifact."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from engine.backtest import select
from engine.cli import console
from engine.cli.commands import open_catalog, record, simulate_day
from engine.config import Config, ConfigError
from models.ensemble.artifact import Manifest
from models.training.train_config import Kind, TeacherConfig, TrainConfig
from venues.recordings.catalog import Catalog, Day

if TYPE_CHECKING:
    from models.features.splits import Splits
    from models.training.metrics import Metrics

CONTROLS = ("labels", "one-student", "kd", "fitnets", "random", "no-body")
_KINDS: dict[str, Kind] = {"labels": "labels", "one-student": "one-student", "kd": "kd", "fitnets": "fitnets"}
_SIMULATED = (5400.0, 5400.0, 3600.0, 3600.0, 3600.0)  # seconds of each day: two to train, valid, calibrate, test
_SIMULATED_FROM = dt.date(2020, 1, 6)


class Request(msgspec.Struct, frozen=True):
    """What the command line asked for."""

    teacher: str | None
    instruments: list[str]
    dates: dict[str, str | None]
    """By split: train, valid, calibrate, test."""
    folds: int
    groups: str | None
    quick: bool
    out: Path


def train_artifact(config: Config, request: Request, as_json: bool) -> None:
    """Train, print the card, leave the artifact and the probe's page at `out`."""
    out = request.out
    if out.exists() and not (out / "manifest.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: there is something that is not an artifact; name another folder")
    try:
        from models.features.splits import make
        from models.training import export, recipes
        from models.training.context import Job
    except ImportError as error:
        raise ConfigError(
            f"training needs the extra packages ({error.name} is missing): pip install 'cmm[train]'"
        ) from error
    kind, settings = _resolve(config.train, request)
    cache = Path(config.data.path) / "teachers"
    window = settings.teacher.window
    folds: list[Splits] = []
    if request.quick:
        days = _simulated(config)
        paths = _paths(open_catalog(_local(config)), days, config)
        folds = [make(paths[:2], paths[2:3], paths[3:4], paths[4:], window)]
    else:
        folds = _splits(config, request, window)
    metrics: list[Metrics] = []
    manifest: Manifest | None = None
    with console.status("training") as report:
        for i, splits in enumerate(folds):
            prefix = f"fold {i + 1} of {len(folds)}, " if len(folds) > 1 else ""
            job = Job(kind, settings, splits, cache, out.name)
            trained = recipes.run(job, lambda line, prefix=prefix: report(prefix + line))  # type: ignore[misc]
            metrics.append(trained.metrics)
            if i == len(folds) - 1:
                manifest = export.write(trained, metrics, out, report)
    if manifest is None:
        raise ConfigError("--folds: there is nothing to train")
    if manifest.kind == "ofdd":
        from engine.reports.probe_page import write_pages

        write_pages(out)
    if as_json:
        summary = {"artifact": str(out), "hash": manifest.hash, **manifest.summary}
        click.echo(msgspec.json.encode(summary))
        return
    click.echo((out / "MODEL_CARD.md").read_text())
    click.echo(f"artifact {out}, hash {manifest.hash}")


def _resolve(config: TrainConfig, request: Request) -> tuple[Kind, TrainConfig]:
    """Who teaches, and with which settings."""
    teacher: TeacherConfig = config.teacher
    name = request.teacher
    kind: Kind = _KINDS.get(name or "", "ofdd")
    if name == "random":
        teacher = msgspec.structs.replace(teacher, backbone="random")
    elif name == "no-body":
        teacher = msgspec.structs.replace(teacher, backbone="none")
    elif name is not None and name not in CONTROLS:
        teacher = msgspec.structs.replace(teacher, model=name)
    if request.quick:
        teacher = msgspec.structs.replace(
            teacher,
            windows=min(teacher.windows or 4_000, 4_000),
            states=min(teacher.states or 4_000, 4_000),
            held_out=min(teacher.held_out or 1_500, 1_500),
        )
        probe = msgspec.structs.replace(config.probe, control_windows=min(config.probe.control_windows, 1_500))
        config = msgspec.structs.replace(config, probe=probe)
    if request.groups is not None:
        config = msgspec.structs.replace(config, probe=msgspec.structs.replace(config.probe, groups=request.groups))
    return kind, msgspec.structs.replace(config, teacher=teacher)


def _splits(config: Config, request: Request, window: int) -> list[Splits]:
    from models.features.splits import make

    if not request.instruments or request.dates["train"] is None:
        raise ConfigError("train needs --instrument and --train DATES (or --quick for the simulated market)")
    catalog = open_catalog(config)
    if request.folds > 1:
        if any(request.dates[name] is not None for name in ("valid", "calibrate", "test")):
            raise ConfigError("--folds rolls its own valid, calibrate and test days over --train; leave the others out")
        return [make(a, b, c, d, window) for a, b, c, d in _folds(config, catalog, request)]
    found: dict[str, list[Path]] = {}
    for name, dates in request.dates.items():
        days = [] if dates is None else _days(catalog, request.instruments, dates, f"--{name}")
        found[name] = _paths(catalog, days, config)
    return [make(found["train"], found["valid"], found["calibrate"], found["test"], window)]


def _folds(config: Config, catalog: Catalog, request: Request) -> list[list[list[Path]]]:
    """Rolling windows of days: train, then one day each to validate, calibrate and test."""
    days = _days(catalog, request.instruments, request.dates["train"], "--train")
    dates = sorted({day.date for day in days})
    taught = len(dates) - request.folds - 2
    if taught < 1:
        raise ConfigError(
            f"--folds {request.folds} needs {request.folds + 3} days, --train names {len(dates)}; "
            "give more days or fewer folds"
        )
    paths = {day.date: _paths(catalog, [d for d in days if d.date == day.date], config) for day in days}
    rolled = []
    for first in range(request.folds):
        edges = [first, first + taught, first + taught + 1, first + taught + 2, first + taught + 3]
        rolled.append([[p for date in dates[a:b] for p in paths[date]] for a, b in pairwise(edges)])
    return rolled


def _days(catalog: Catalog, instruments: Sequence[str], dates: str | None, option: str) -> list[Day]:
    return [day for name in instruments for day in select.days(catalog, name, dates, option)]


def _paths(catalog: Catalog, days: list[Day], config: Config) -> list[Path]:
    return [path for path, _, _ in record(catalog, days, config)]


def _local(config: Config) -> Config:
    """The same with a catalog of its own for the simulated market."""
    path = str(Path(config.data.path) / "simulated")
    return msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, path=path))


def _simulated(config: Config) -> list[Day]:
    """Days of the simulated market; those that are there are not simulated again."""
    catalog = open_catalog(_local(config))
    dates = [_SIMULATED_FROM + dt.timedelta(days=i) for i in range(len(_SIMULATED))]
    known = {day.date: day for name in catalog.instruments() for day in catalog.days(name).values()}
    for seed, (date, seconds) in enumerate(zip(dates, _SIMULATED, strict=True)):
        if date not in known:
            known[date] = simulate_day(catalog, seed, seconds, date)
    return [known[date] for date in dates]

"""From days of the catalog, or a simulated market, to an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from engine.config import Config, override
from engine.progress import SILENT, Progress
from engine.training.days import recorded_splits, simulated_splits
from engine.training.request import Request
from market.errors import ConfigError
from models.ensemble import artifact
from models.ensemble.artifact import Manifest
from models.training.train_config import Backbone, Kind

if TYPE_CHECKING:
    from models.training.metrics import Metrics

_BACKBONES: dict[str, Backbone] = {"random": "random", "no-body": "none"}
_CONTROLS: dict[str, Kind] = {kind: kind for kind in get_args(Kind.__value__) if kind != "ofdd"}
_QUICK_WINDOWS, _QUICK_HELD_OUT = 4_000, 1_500  # at most, with `quick`


def train_artifact(config: Config, request: Request, progress: Progress = SILENT) -> Manifest:
    """Train, and leave the artifact and the probe's page at `out`.

    A training that was killed goes on where it was when it is asked for again.

    Raises
    ------
    ConfigError
        Something else lies at `out`, packages are missing, or days are.
    ModelError
        What was trained is not fit to be written.

    """
    out = request.out
    if out.exists() and not (out / artifact.MANIFEST).exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: there is something that is not an artifact; name another folder")
    try:
        from models.training import export, recipes
        from models.training.context import Job
    except ImportError as error:
        raise ConfigError(
            f"training needs the extra packages ({error.name} is missing): pip install 'cmm[train]'"
        ) from error
    kind, config = _resolve(config, request)
    window = config.train.teacher.window
    if request.quick:
        folds = [simulated_splits(config, window, progress)]
    else:
        folds = recorded_splits(config, request, window, progress)
    metrics: list[Metrics] = []
    with progress.lines("training") as report:
        for i, splits in enumerate(folds):
            prefix = f"fold {i + 1} of {len(folds)}, " if len(folds) > 1 else ""
            job = Job(kind, config.train, splits, Path(config.data.path) / "teachers", out.name)
            trained = recipes.run(job, lambda line, prefix=prefix: report(prefix + line))  # type: ignore[misc]
            metrics.append(trained.metrics)
        manifest = export.write(trained, metrics, out, report)
    if manifest.kind == "ofdd":
        from engine.reports.probe_page import write_pages

        write_pages(out)
    return manifest


def _resolve(config: Config, request: Request) -> tuple[Kind, Config]:
    """Who teaches, and with which settings."""
    name = request.teacher
    changes: dict[str, object] = {}
    if name in _BACKBONES:
        changes["train.teacher.backbone"] = _BACKBONES[name]
    elif name is not None and name not in _CONTROLS:
        changes["train.teacher.model"] = name
    if request.quick:
        teacher = config.train.teacher
        changes |= {
            "train.teacher.windows": min(teacher.windows or _QUICK_WINDOWS, _QUICK_WINDOWS),
            "train.teacher.states": min(teacher.states or _QUICK_WINDOWS, _QUICK_WINDOWS),
            "train.teacher.held_out": min(teacher.held_out or _QUICK_HELD_OUT, _QUICK_HELD_OUT),
            "train.probe.control_windows": min(config.train.probe.control_windows, _QUICK_HELD_OUT),
        }
    return _CONTROLS.get(name or "", "ofdd"), override(config, changes)

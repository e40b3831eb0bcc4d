"""`cmm models`: list, show, verify and compare artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from engine.cli import console
from engine.config import SHIPPED, Config
from models.ensemble import artifact
from models.ensemble.artifact import Manifest
from models.ensemble.predictor import Predictor
from models.errors import ModelError
from models.features.scores import METRICS

_TRIALS = 64


def list_models(config: Config, as_json: bool) -> None:
    """Artifacts under the runs folder, and the one that is shipped."""
    found: list[dict[str, Any]] = []
    for path in [SHIPPED, *(p.parent for p in sorted(Path(config.runs.path).glob(f"*/{artifact.MANIFEST}")))]:
        try:
            manifest = artifact.read(path)
        except ModelError as error:
            found.append({"path": str(path), "error": str(error)})
            continue
        found.append(_brief(path, manifest))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    rows = [
        [m["path"], m.get("hash", "–"), m.get("kind", m.get("error")), ", ".join(m.get("instruments", [])),
         m.get("last_day", "–"), m.get("ic_mid"), "passed" if m.get("gate_passed") else "not passed"]
        for m in found
    ]  # fmt: skip
    columns = ["artifact", "hash", "kind", "instruments", "trained to", "IC mid", "gate"]
    console.stdout.print(console.table("artifacts", columns, rows))


def show_model(folder: Path, as_json: bool) -> None:
    """The model card, or manifest and metrics as JSON."""
    manifest = artifact.read(folder)
    if as_json:
        metrics = msgspec.json.decode((folder / artifact.METRICS).read_bytes())
        click.echo(msgspec.json.encode(_brief(folder, manifest) | {"splits": manifest.splits, "metrics": metrics}))
        return
    click.echo((folder / artifact.CARD).read_text())
    click.echo(f"artifact {folder}, hash {manifest.hash}")


def verify_model(folder: Path) -> None:
    """Hashes of all files, feature spec, golden output, finite answers, and that recalibration can start."""
    from models.ensemble.parameters import Calibration

    predictor = Predictor(folder)
    manifest = predictor.manifest
    low, high = (np.asarray(edge, np.float32) for edge in (manifest.feature_low, manifest.feature_high))
    rng = np.random.default_rng(0)
    for _ in range(_TRIALS):
        predictor.features[0] = rng.uniform(low, high).astype(np.float32)
        if predictor.predict() is None:
            raise ModelError(f"{folder}: gives no finite forecast within its own training range; train it again")
    Calibration.load(folder / artifact.FUSION)
    files = ", ".join(sorted(manifest.files))
    click.echo(f"{folder}: sound; hash {manifest.hash}; {files}; output as expected; {_TRIALS} random inputs finite")


def diff_models(one: Path, other: Path, as_json: bool) -> None:
    """What differs: settings, data, metrics, and the forecasts on the same random inputs."""
    a, b = artifact.read(one), artifact.read(other)
    left, right = (_flat(msgspec.to_builtins(m), "") for m in (a, b))
    skipped = ("feature_low", "feature_high", "golden", "files")
    keys = [k for k in sorted({*left, *right}) if left.get(k) != right.get(k) and not k.startswith(skipped)]
    changed = {key: [left.get(key), right.get(key)] for key in keys}
    forecasts = None
    if a.spec_hash == b.spec_hash:
        forecasts = _disagreement(one, other, a)
    if as_json:
        click.echo(msgspec.json.encode({"same": a.hash == b.hash, "changed": changed, "forecasts": forecasts}))
        return
    if a.hash == b.hash:
        click.echo(f"{one} and {other} are the same artifact ({a.hash})")
        return
    rows = [[key, _text(was), _text(now)] for key, (was, now) in changed.items()]
    console.stdout.print(console.table("differences", ["", str(one), str(other)], rows))
    if forecasts is None:
        click.echo("their features are computed differently: forecasts cannot be compared")
        return
    agreement = ", ".join(f"{name} {value:.3f}" for name, value in forecasts.items())
    click.echo(f"correlation of their forecasts on the same random inputs: {agreement}")


def _disagreement(one: Path, other: Path, manifest: Manifest) -> dict[str, float]:
    from models.ensemble.predictor import run_graph

    low, high = (np.asarray(edge, np.float32) for edge in (manifest.feature_low, manifest.feature_high))
    x = np.random.default_rng(0).uniform(low, high, (2000, len(low))).astype(np.float32)
    a, b = (run_graph(folder / artifact.GRAPH, x) for folder in (one, other))
    return {task: float(np.corrcoef(a[:, i], b[:, i])[0, 1]) for i, task in enumerate(manifest.tasks)}


def _brief(path: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "path": str(path),
        "name": manifest.name,
        "hash": manifest.hash,
        "kind": manifest.kind,
        "teacher": manifest.teacher,
        "instruments": manifest.instruments,
        "last_day": max(manifest.seen, default=None),
        **{name: manifest.summary.get(name) for name in ("reported_on", "gate_passed", *METRICS)},
    }


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"

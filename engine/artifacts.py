"""The artifacts that can trade: which there are, which one fits, whether one is sound, how two differ."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.config import SHIPPED, Config
from models.ensemble import artifact
from models.ensemble.artifact import Manifest
from models.errors import ModelError
from venues.recordings.catalog import Day

_TRIALS = 64
_TOLERANCE = 1e-4  # between the compiled graph and ONNX Runtime, of forecast and scale
_COMPARED = 2000
_NOT_COMPARED = ("feature_low", "feature_high", "golden", "files")


class Found(msgspec.Struct, frozen=True):
    """An artifact's folder, with its manifest or what is wrong with it."""

    path: Path
    manifest: Manifest | None
    error: str = ""


class Verified(msgspec.Struct, frozen=True):
    """A sound artifact, and on how many random inputs it gave finite forecasts."""

    path: Path
    manifest: Manifest
    trials: int


class Difference(msgspec.Struct, frozen=True):
    """How two artifacts differ.

    Parameters
    ----------
    same : bool
    changed : dict
        By dotted key of their manifests: both values.
    forecasts : dict, optional
        By task: correlation of their forecasts on the same random inputs; None where their features differ.

    """

    same: bool
    changed: dict[str, tuple[object, object]]
    forecasts: dict[str, float] | None


def list_artifacts(config: Config) -> list[Found]:
    """The shipped artifact, and those under the runs folder."""
    found = []
    for path in [SHIPPED, *_folders(config)]:
        try:
            found.append(Found(path, artifact.read(path)))
        except ModelError as error:
            found.append(Found(path, None, str(error)))
    return found


def choose_artifact(config: Config, instrument: str, first: dt.date) -> tuple[Path, str]:
    """The artifact to forecast with, and a sentence on why.

    Named in the configuration, else the newest under the runs folder that was trained on this
    instrument before `first`, else the one shipped.
    """
    if config.model.artifact is not None:
        return Path(config.model.artifact), "named by the configuration"
    fitted = []
    for path in _folders(config):
        try:
            manifest = artifact.read(path)
        except ModelError:
            continue
        last = max(manifest.seen, default="")
        if manifest.instruments == [instrument] and last < str(first):
            fitted.append((last, path))
    if fitted:
        return max(fitted)[1], "the newest one fitted to this instrument on earlier days"
    return (
        SHIPPED,
        f"the shipped one, trained on a simulated market: {instrument} has no fitted artifact yet (cmm train)",
    )


def leaks(path: Path, chosen: Sequence[Day]) -> list[str]:
    """Days that the artifact has seen (trained, chosen or calibrated on) or that lie before such a day."""
    manifest = artifact.read(path)
    if chosen[0].instrument not in manifest.instruments:
        return []
    last = max(manifest.seen, default="")
    return [str(day.date) for day in chosen if str(day.date) <= last]


def verify_artifact(folder: Path) -> Verified:
    """Hashes of all files, feature spec, golden output, finite answers, that ONNX Runtime gives the same ones, and that
    recalibration can start.

    Raises
    ------
    ModelError
        Something of that does not hold.

    """
    from models.ensemble.parameters import Calibration
    from models.ensemble.predictor import Predictor, run_graph

    predictor = Predictor(folder)
    manifest = predictor.manifest
    low, high = _range(manifest)
    x = np.random.default_rng(0).uniform(low, high, (_TRIALS, len(low))).astype(np.float32)
    forecasts = predictor.predict_rows(x)
    if not np.isfinite(forecasts).all():
        raise ModelError(f"{folder}: gives no finite forecast within its own training range; train it again")
    scale = 1.0 + np.abs(forecasts)
    scale[:, 0] += np.exp(x[:, -3])  # a mid change is a small difference of terms as large as its sigma
    if not (np.abs(run_graph(folder / artifact.GRAPH, x)[:, :4] - forecasts) <= _TOLERANCE * scale).all():
        raise ModelError(f"{folder}: its graph is not one that this version runs; train it again")
    Calibration.load(folder / artifact.FUSION)
    return Verified(folder, manifest, _TRIALS)


def compare_artifacts(one: Path, other: Path) -> Difference:
    """What differs: settings, data, metrics, and the forecasts on the same random inputs."""
    a, b = artifact.read(one), artifact.read(other)
    left, right = (_flat(msgspec.to_builtins(m), "") for m in (a, b))
    keys = [k for k in sorted({*left, *right}) if left.get(k) != right.get(k) and not k.startswith(_NOT_COMPARED)]
    changed = {key: (left.get(key), right.get(key)) for key in keys}
    return Difference(a.hash == b.hash, changed, _agreement(one, other, a) if a.spec_hash == b.spec_hash else None)


def _agreement(one: Path, other: Path, manifest: Manifest) -> dict[str, float]:
    from models.ensemble.predictor import run_graph

    low, high = _range(manifest)
    x = np.random.default_rng(0).uniform(low, high, (_COMPARED, len(low))).astype(np.float32)
    a, b = (run_graph(folder / artifact.GRAPH, x) for folder in (one, other))
    return {task: float(np.corrcoef(a[:, i], b[:, i])[0, 1]) for i, task in enumerate(manifest.tasks)}


def _range(manifest: Manifest) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest features that it was trained on (features,) each."""
    return np.asarray(manifest.feature_low, np.float32), np.asarray(manifest.feature_high, np.float32)


def _folders(config: Config) -> list[Path]:
    return [path.parent for path in sorted(Path(config.runs.path).glob(f"*/{artifact.MANIFEST}"))]


def _flat(tree: object, prefix: str) -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat

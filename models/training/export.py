"""Last stage: the graph, its proof, the card and the manifest; the artifact takes its place when it is whole."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from models.ensemble import artifact
from models.ensemble.artifact import Golden, Manifest
from models.ensemble.predictor import run_compiled, run_graph
from models.errors import ModelError
from models.features import scores
from models.features.book_features import TASKS
from models.training import graph, store
from models.training.card import card
from models.training.context import Report
from models.training.metrics import HAJEK_MOE, Metrics, Parity, judge_gate
from models.training.recipes import Trained

PARITY = 1e-5
_PARITY_ROWS = 4000
_PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "transformers", "peft", "lightgbm")
_TAUGHT = ("ofdd", "kd", "fitnets")


def write(trained: Trained, folds: Sequence[Metrics], out: Path, report: Report) -> Manifest:
    """Export, check and put the artifact in its place; an earlier one stays until the new one is whole.

    Parameters
    ----------
    trained : Trained
    folds : sequence of Metrics
        Of all walk-forward folds, this one last.
    out : Path
    report : callable

    Raises
    ------
    ModelError
        The exported graph differs from the trained one, or the disk is full.

    """
    report("exporting")
    staged = out.with_name(out.name + ".tmp")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
        manifest, text = _stage(trained, folds, staged)
        artifact.write(out, staged, manifest, text)
    except OSError as error:
        if store.is_full(error):
            raise ModelError(f"{out}: the disk is full; free some space and run the command again") from error
        raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return manifest


def _stage(trained: Trained, folds: Sequence[Metrics], staged: Path) -> tuple[Manifest, str]:
    """Write all files but manifest and card, and return these."""
    team, calibration = trained.ensemble.students, trained.ensemble.calibration
    ensemble = graph.Ensemble(team, trained.ensemble.scaler, calibration)
    path = staged / artifact.GRAPH
    graph.export(ensemble, trained.train.features.shape[1], path)
    calibration.save(staged / artifact.FUSION)
    metrics = msgspec.structs.replace(
        trained.metrics,
        parity=_parity(ensemble, path, trained.calibrate.features),
        gate=judge_gate(folds),
        folds=list(folds) if len(folds) > 1 else None,
    )
    store.write_json(staged / artifact.METRICS, metrics)
    names = [artifact.GRAPH, artifact.FUSION, artifact.METRICS]
    if trained.probe is not None:
        store.write_json(staged / artifact.PROBE, trained.probe)
        names.append(artifact.PROBE)
    row = trained.calibrate.features[len(trained.calibrate) // 2]
    golden = Golden(row.tolist(), run_compiled(path, row[None])[0].tolist())
    files = {name: artifact.file_hash(staged / name) for name in names}
    manifest = _manifest(trained, metrics, files, golden)
    return manifest, card(manifest, metrics, trained.probe)


def _parity(ensemble: graph.Ensemble, path: Path, features: NDArray[np.float32]) -> Parity:
    """Worst difference of the exported graph to torch: by ONNX Runtime in batches of 1,000, and as it is run here.

    Relative to forecast and scale: a mid change is a small difference of terms as large as its sigma,
    which is hundreds of ticks on some instruments.
    """
    sample = features[:: max(1, len(features) // _PARITY_ROWS)][:_PARITY_ROWS]
    with torch.no_grad():
        trained = ensemble(torch.from_numpy(sample))[0].numpy()
    batches = np.concatenate([run_graph(path, sample[i : i + 1000]) for i in range(0, len(sample), 1000)])
    compiled = run_compiled(path, sample)
    scale = 1.0 + np.abs(trained)
    scale[:, 0] += np.exp(sample[:, -3])
    worst = [float(np.max(np.abs(exported - trained) / scale)) for exported in (batches, compiled)]
    if max(worst) > PARITY:
        raise ModelError(
            f"{path}: the exported graph differs from the trained one by {max(worst):.1e} (limit {PARITY:.0e})"
        )
    return Parity(len(sample), *worst)


def _manifest(trained: Trained, metrics: Metrics, files: dict[str, str], golden: Golden) -> Manifest:
    job, gate = trained.job, metrics.gate
    low, high = np.quantile(trained.train.features, [0.001, 0.999], axis=0)
    margin = 0.5 * (high - low) + 1e-6
    sources = job.splits.headers()
    spec, teacher = trained.train.spec, job.config.teacher
    shipped = metrics.scores[HAJEK_MOE]
    return Manifest(
        schema=artifact.SCHEMA,
        name=job.name,
        kind=job.kind,
        teacher=f"{teacher.model}, {teacher.backbone} backbone" if job.kind in _TAUGHT else "labels",
        spec=spec,
        spec_hash=spec.hash,
        tasks=list(TASKS),
        regimes=trained.ensemble.calibration.regimes,
        students=trained.ensemble.students.count,
        splits={
            split: [f"{h.instrument} {h.date} {h.source_sha256[:16]}" for h in headers]
            for split, headers in sources.items()
        },
        instruments=sorted({h.instrument for headers in sources.values() for h in headers}),
        depth=max(h.depth for h in sources["train"]),
        feature_low=(low - margin).tolist(),
        feature_high=(high + margin).tolist(),
        summary={
            "reported_on": metrics.reported_on,
            "gate_passed": gate is not None and gate.passed,
            **{name: shipped.value(name) for name in scores.METRICS},
        },
        settings=msgspec.to_builtins(job.config),
        versions={package: importlib.metadata.version(package) for package in _PACKAGES if _is_there(package)},
        files=files,
        golden=golden,
    )


def _is_there(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

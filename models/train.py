"""Training: datasets in, artifact out. The teacher is the labels themselves (the ablation without a language model)."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from models import artifact, graph, students
from models.artifact import Golden, Manifest
from models.dataset import Dataset
from models.errors import ModelError
from models.features import REGIMES, TASKS
from models.fusion import fit
from models.labels import natural
from models.predictor import run_graph
from models.students import Scaler
from models.train_config import TrainConfig

PARITY = 1e-5
_CALIBRATION_SHARE = 0.25
_PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")


def train_labels(
    data: Dataset, valid: Dataset | None, config: TrainConfig, out: Path, report: Callable[[str], None]
) -> Manifest:
    """Train students on labels, fuse them on the training span's end, write the artifact.

    Parameters
    ----------
    data : Dataset
        Training span; its last quarter, the most recent market, calibrates the fusion.
    valid : Dataset or None
        Later days, used to report metrics only.
    config : TrainConfig
    out : Path
        The artifact's folder; replaced only when all went well.
    report : callable
        Takes a line of progress.

    """
    if valid is not None and valid.ts_ns[0] <= data.ts_ns[-1]:
        raise ModelError("the validation days begin before the training days end; give later days to --valid")
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    cut = int(data.ts_ns[int(len(data) * (1 - _CALIBRATION_SHARE))])
    taught, calibration = data.before(cut), data.since(cut)
    report(f"{len(taught):,} samples teach {config.students.count} students, {len(calibration):,} calibrate")
    scaler = Scaler.fit(taught)
    team = students.train(
        taught,
        scaler,
        config.students,
        lambda epoch, loss: report(f"epoch {epoch}/{config.students.epochs}, loss {loss:.4f}"),
    )
    report("fitting the fusion")
    y, z = students.outputs(team, scaler, calibration)
    target = scaler.targets(calibration).double().numpy()
    purge_ns = round(data.spec.horizon_s * 1e9)
    fusion = fit(y, z, target, calibration.regime, calibration.ts_ns, purge_ns, config.fusion)
    ensemble = graph.Ensemble(team, scaler, fusion)

    staged = out.with_name(out.name + ".tmp")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        report("exporting")
        path = staged / artifact.GRAPH
        graph.export(ensemble, data.features.shape[1], path)
        metrics: dict[str, Any] = {"parity": _parity(ensemble, path, calibration.features)}
        metrics["calibration"] = _score(run_graph(path, calibration.features), calibration)
        if valid is not None:
            metrics["valid"] = _score(run_graph(path, valid.features), valid)
            metrics["valid_mean_of_students"] = _score(_mean_of_students(team, scaler, valid), valid)
        golden_row = calibration.features[len(calibration) // 2]
        golden = Golden(golden_row.tolist(), run_graph(path, golden_row[None])[0].tolist())
        manifest = _manifest(data, valid, config, out.name, cut, path, metrics, golden)
        artifact.write(out, staged, manifest, card(manifest))
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return manifest


def card(manifest: Manifest) -> str:
    """The model card: what it is, what it was trained on, what it is worth."""
    lines = [
        f"# {manifest.name}",
        "",
        f"{manifest.students} one-layer students ({len(manifest.tasks)} tasks x {len(manifest.regimes)} regimes), taught by "
        f"{manifest.teacher}, fused by a Hájek-projection mixture of experts. Horizon {manifest.spec.horizon_s:g} s.",
        "",
        f"- instruments: {', '.join(manifest.instruments)}",
        f"- trained on: {', '.join(manifest.train)}; the fusion on what came after {manifest.calibrate}",
        f"- reported on: {', '.join(manifest.valid) or 'calibration data only'}",
        "",
        "| split | samples | IC mid | R² mid | R² spread | MAE spread (ticks) | R² volume |",
        "|---|---|---|---|---|---|---|",
    ]
    for split, score in manifest.metrics.items():
        if isinstance(score, dict):
            low, high = score["ic_mid_interval"]
            lines.append(
                f"| {split} | {score['samples']:,} | {score['ic_mid']:.3f} [{low:.3f}, {high:.3f}] | {score['r2_mid']:.4f} | "
                f"{score['r2_spread']:.3f} | {score['mae_spread_ticks']:.3f} | {score['r2_volume']:.3f} |"
            )
    lines += [
        "",
        "IC: correlation of forecast and outcome, 95% interval by bootstrap of blocks of up to 5 minutes. R² against the mean of the "
        "same days. The calibration split was seen by the fusion: read the validation split. No language model took part.",
        "",
    ]
    return "\n".join(lines)


def _parity(ensemble: graph.Ensemble, path: Path, features: NDArray[np.float32]) -> float:
    sample = features[:: max(1, len(features) // 2000)]
    with torch.no_grad():
        trained = ensemble(torch.from_numpy(sample)).numpy()
    worst = float(np.max(np.abs(run_graph(path, sample) - trained) / (1.0 + np.abs(trained))))
    if worst > PARITY:
        raise ModelError(f"{path}: the exported graph differs from the trained one by {worst:.1e} (limit {PARITY:.0e})")
    return worst


def _mean_of_students(team: students.Students, scaler: Scaler, data: Dataset) -> NDArray[np.float32]:
    """The plain mean of each task's students, in natural units: what the fusion has to beat."""
    y, _ = students.outputs(team, scaler, data)
    mean = y.reshape(len(y), len(TASKS), -1).mean(-1) * scaler.target_deviation + scaler.target_mean
    context = data.features[:, -3:]
    columns = [mean[:, 0] * np.exp(context[:, 0]), np.exp(mean[:, 1] + context[:, 1]), mean[:, 2] + context[:, 2]]
    return np.stack(columns, 1).astype(np.float32)


def _score(forecast: NDArray[np.float32], data: Dataset) -> dict[str, Any]:
    outcome = natural(data).astype(np.float64)
    error = outcome - forecast[:, :3]
    r2 = 1.0 - (error**2).sum(0) / np.maximum(((outcome - outcome.mean(0)) ** 2).sum(0), 1e-12)
    ic = _correlation(forecast[:, 0].astype(np.float64), outcome[:, 0])
    return {
        "samples": len(data),
        "ic_mid": ic,
        "ic_mid_interval": _block_bootstrap(forecast[:, 0].astype(np.float64), outcome[:, 0], data),
        "r2_mid": float(r2[0]),
        "r2_spread": float(r2[1]),
        "mae_spread_ticks": float(np.abs(error[:, 1]).mean()),
        "r2_volume": float(r2[2]),
    }


def _correlation(forecast: NDArray[np.float64], outcome: NDArray[np.float64]) -> float:
    """Correlation; 0 where one of the two never changes."""
    f, y = forecast - forecast.mean(), outcome - outcome.mean()
    return float(f @ y / max(float(np.sqrt((f @ f) * (y @ y))), 1e-12))


def _block_bootstrap(
    forecast: NDArray[np.float64], outcome: NDArray[np.float64], data: Dataset, draws: int = 400
) -> tuple[float, float]:
    """95% interval of the correlation; drawn in blocks, because horizons of neighbours overlap.

    Blocks last 5 minutes, on short data a twentieth of it but no less than six horizons. Fewer than
    five blocks tell nothing: (-1, 1).
    """
    span_ns = int(data.ts_ns[-1] - data.ts_ns[0])
    block_ns = int(min(max(span_ns / 20, data.spec.horizon_s * 6e9), 300e9))
    _, block = np.unique(data.ts_ns // block_ns, return_inverse=True)
    if block.max() < 4:
        return -1.0, 1.0
    moments = np.stack([np.ones_like(outcome), forecast, outcome, forecast**2, outcome**2, forecast * outcome], 1)
    sums = np.zeros((block.max() + 1, 6))
    np.add.at(sums, block, moments)
    picks = np.random.default_rng(0).integers(0, len(sums), (draws, len(sums)))
    n, f, y, ff, yy, fy = sums[picks].sum(1).T
    variances = np.maximum((ff - f * f / n) * (yy - y * y / n), 1e-12)
    low, high = np.quantile((fy - f * y / n) / np.sqrt(variances), [0.025, 0.975])
    return float(low), float(high)


def _manifest(
    data: Dataset,
    valid: Dataset | None,
    config: TrainConfig,
    name: str,
    cut: int,
    path: Path,
    metrics: dict[str, Any],
    golden: Golden,
) -> Manifest:
    low, high = np.quantile(data.features, [0.001, 0.999], axis=0)
    margin = 0.5 * (high - low) + 1e-6
    return Manifest(
        schema=artifact.SCHEMA,
        name=name,
        teacher="labels",
        spec=data.spec,
        spec_hash=data.spec.hash,
        tasks=list(TASKS),
        regimes=list(REGIMES),
        students=config.students.count,
        train=[f"{source.instrument} {source.date}" for source in data.sources],
        calibrate=dt.datetime.fromtimestamp(cut / 1e9, dt.UTC).isoformat(timespec="seconds"),
        valid=[f"{source.instrument} {source.date}" for source in valid.sources] if valid is not None else [],
        instruments=sorted({source.instrument for source in data.sources}),
        depth=max(source.depth for source in data.sources),
        feature_low=(low - margin).tolist(),
        feature_high=(high + margin).tolist(),
        metrics=metrics,
        settings=msgspec.to_builtins(config),
        versions={package: importlib.metadata.version(package) for package in _PACKAGES},
        files={artifact.GRAPH: artifact.file_hash(path)},
        golden=golden,
    )

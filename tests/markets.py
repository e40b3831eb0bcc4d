"""Made-up datasets with known answers, in memory and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.ensemble.fusion import FusionConfig
from models.features.book_features import FeatureSpec
from models.features.dataset import Dataset, DatasetHeader, DatasetWriter
from models.features.outcomes import Outcome
from models.training.train_config import (
    OfddConfig,
    ProbeConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)

SPEC = FeatureSpec()
NS = 10**9


def made(rows: int, seed: int, start_s: int = 0, signal: float = 1.0) -> Dataset:
    """A market in which the first feature moves the mid and the second the spread; a row a second."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, len(SPEC.names))).astype(np.float32)
    x[:, -3:] = (1.0, 0.5, 3.0)
    noise = rng.normal(size=(rows, 3))
    mid = np.e * (signal * 0.5 * x[:, 0] + 0.8 * noise[:, 0])
    spread = np.exp(0.5 + signal * 0.2 * x[:, 1] + 0.2 * noise[:, 1])
    volume = np.expm1(np.maximum(3.0 + signal * 0.4 * x[:, 2] + 0.3 * noise[:, 2], 0.0))
    outcomes = np.stack([mid, spread, volume, np.zeros(rows), np.zeros(rows)], 1).astype(np.float32)
    ts = (start_s + 1 + np.arange(rows, dtype=np.int64)) * NS
    regime = rng.integers(0, 3, rows).astype(np.int8)
    header = DatasetHeader("X.SIM", f"2020-01-{seed:02d}", SPEC, f"{seed:064d}", 0)
    return Dataset(ts, x, regime, outcomes, SPEC, [header], np.zeros(rows, np.int32))


def save(folder: Path, data: Dataset) -> Path:
    """Write a made market as `cmm record` would."""
    (header,) = data.sources
    path = folder / header.instrument / f"{header.date}.parquet"
    writer = DatasetWriter(path, header)
    for ts, x, outcome, regime in zip(data.ts_ns, data.features, data.outcomes, data.regime, strict=True):
        writer.add(Outcome(int(ts), *(float(v) for v in outcome)), x, int(regime))
    writer.close()
    return path


def settings(model: str = "smollm2", **teacher: object) -> TrainConfig:
    """Settings small enough for seconds."""
    known: dict[str, object] = {
        "model": model,
        "window": 8,
        "patch": 4,
        "windows": 256,
        "states": 512,
        "held_out": 400,
        "batch": 16,
        "checkpoint_every": 4,
        "tail_windows": 200,
        "device": "cpu",
    }
    return TrainConfig(
        teacher=TeacherConfig(**(known | teacher)),  # type: ignore[arg-type]
        probe=ProbeConfig(components=8, shifts=4, draws=20, control_windows=200),
        ofdd=OfddConfig(components=4, steps=60, sweep=(0.0, 10.0)),
        students=StudentConfig(members=3, width=8, epochs=6, batch=256),
        fusion=FusionConfig(kernel_features=8),
        threads=1,
    )

"""Decision cost of the shipped graph beside a forward pass of the teacher it was distilled from, on one core."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from engine.config import SHIPPED
from models.ensemble.predictor import Predictor
from models.training.teacher import Teacher
from models.training.train_config import TeacherConfig

_GRAPH_RUNS, _TEACHER_RUNS, _ROUNDS = 4000, 10, 4


def main() -> None:
    """Print p50 and p99 of both in microseconds, interleaved in one run, and the ratio of the medians."""
    predictor, config = Predictor(SHIPPED), TeacherConfig(device="cpu")
    features = len(predictor.manifest.spec.names)
    with tempfile.TemporaryDirectory() as folder:
        teacher = Teacher(config, features, ["QR.SIM"], predictor.manifest.spec.horizon_s, Path(folder)).eval()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    low, high = (np.asarray(edge) for edge in (predictor.manifest.feature_low, predictor.manifest.feature_high))
    window = torch.from_numpy(rng.normal(size=(1, config.window, features)).astype(np.float32))
    times: dict[str, list[int]] = {"graph": [], "teacher": []}
    clock = time.perf_counter_ns
    for _ in range(_ROUNDS):
        for _ in range(_GRAPH_RUNS):
            predictor.features[0] = rng.uniform(low, high)
            start = clock()
            predictor.predict()
            times["graph"].append(clock() - start)
        with torch.inference_mode():
            for _ in range(_TEACHER_RUNS):
                start = clock()
                teacher(window, ["QR.SIM"])
                times["teacher"].append(clock() - start)
    print(f"one forecast, µs, one core; teacher {config.model}, window {config.window}")
    medians = {}
    for name, taken in times.items():
        p50, p99 = np.quantile(np.array(taken[len(taken) // 10 :]) / 1e3, [0.5, 0.99])
        medians[name] = p50
        print(f"{name:<20}{p50:>12.1f}{p99:>12.1f}")
    print(f"teacher over graph, median: {medians['teacher'] / medians['graph']:,.0f}")

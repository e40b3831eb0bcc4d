"""Students: small networks, one a cell (task, regime, member), all in one batched tensor.

A student is one hidden layer of `width` units; measured, two layers were no better and cost more.
Order of students: task, then regime, then member: student i serves task i // (regimes x members).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.dataset import Dataset
from models.errors import ModelError
from models.features import REGIMES
from models.labels import normalised
from models.train_config import StudentConfig


class Scaler(msgspec.Struct, frozen=True):
    """Standardisation fitted on the training span: features (features,), targets (3,)."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    target_mean: NDArray[np.float32]
    target_deviation: NDArray[np.float32]

    @staticmethod
    def fit(data: Dataset) -> Scaler:
        targets = normalised(data)
        spread = data.features.std(0, dtype=np.float64)
        return Scaler(
            data.features.mean(0, dtype=np.float64).astype(np.float32),
            np.where(spread > 1e-6, spread, 1.0).astype(np.float32),  # constant features stay constant
            targets.mean(0, dtype=np.float64).astype(np.float32),
            targets.std(0, dtype=np.float64).clip(1e-6).astype(np.float32),
        )

    def features(self, data: Dataset) -> Tensor:
        return torch.from_numpy(((data.features - self.mean) / self.deviation).clip(-6.0, 6.0))

    def targets(self, data: Dataset) -> Tensor:
        return torch.from_numpy((normalised(data) - self.target_mean) / self.target_deviation)


class Students(nn.Module):  # type: ignore[misc]
    """Batched one-layer networks: latent relu(x W + b), output z·v + c."""

    def __init__(self, features: int, config: StudentConfig) -> None:
        super().__init__()
        self.count, self.width = config.count, config.width
        scale = (2.0 / features) ** 0.5 * 0.7
        self.hidden = nn.Parameter(torch.randn(features, self.count * self.width) * scale)
        self.hidden_bias = nn.Parameter(torch.zeros(self.count * self.width))
        self.readout = nn.Parameter(torch.zeros(self.count, self.width))
        self.readout_bias = nn.Parameter(torch.zeros(self.count))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (batch, features) to outputs (batch, students) and latents (batch, students, width)."""
        latent = torch.relu(x @ self.hidden + self.hidden_bias).view(-1, self.count, self.width)
        return (latent * self.readout).sum(-1) + self.readout_bias, latent


type Report = Callable[[int, float], None]


def train(data: Dataset, scaler: Scaler, config: StudentConfig, report: Report) -> Students:
    """Teach students by labels alone; each keeps its best epoch on the training span's tail.

    Raises
    ------
    ModelError
        Too few samples to train on.

    """
    if len(data) < 200:
        raise ModelError(f"only {len(data)} samples to train on; record more days (`cmm record`)")
    torch.manual_seed(config.seed)
    cut = int(data.ts_ns[int(len(data) * (1 - config.tail))])
    fit, tail = data.before(cut), data.since(cut)
    x, y, weight = _tensors(fit, scaler, config)
    x_tail, y_tail, weight_tail = _tensors(tail, scaler, config)
    students = Students(x.shape[1], config)
    optimiser = torch.optim.AdamW(students.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    best = torch.full((config.count,), float("inf"))
    kept = _copy(students)
    idle = 0
    for epoch in range(config.epochs):
        students.train()
        for rows in torch.randperm(len(x)).split(config.batch):
            seen = x[rows] * (torch.rand(len(rows), x.shape[1]) > config.dropout)
            output, _ = students(seen)
            loss = (_huber(output - y[rows]) * weight[rows]).mean(0).sum()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(students.parameters(), 5.0)
            optimiser.step()
        students.eval()
        with torch.no_grad():
            error = (_huber(students(x_tail)[0] - y_tail) * weight_tail).mean(0)
        better = error < best - 1e-4
        best = torch.where(better, error, best)
        _keep(kept, students, better)
        report(epoch + 1, float(best.mean()))
        idle = 0 if bool(better.any()) else idle + 1
        if idle >= config.patience:
            break
    students.load_state_dict(kept)
    students.eval()
    return students


def outputs(students: Students, scaler: Scaler, data: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Student outputs (rows, students) and latents (rows, students, width), in float64."""
    with torch.no_grad():
        y, z = students(scaler.features(data))
    return y.double().numpy(), z.double().numpy()


def _tensors(data: Dataset, scaler: Scaler, config: StudentConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Features (rows, features), targets and weights (rows, students)."""
    task = [i // (len(REGIMES) * config.members) for i in range(config.count)]
    regime = torch.tensor([i // config.members % len(REGIMES) for i in range(config.count)])
    inside = torch.from_numpy(data.regime.astype(np.int64))[:, None] == regime
    weight = torch.where(inside, 1.0, config.outside_weight)
    return scaler.features(data), scaler.targets(data)[:, task], weight / weight.mean(0)


def _huber(error: Tensor, knee: float = 1.5) -> Tensor:
    return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=knee)


def _copy(students: Students) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in students.state_dict().items()}


def _keep(kept: dict[str, Tensor], students: Students, better: Tensor) -> None:
    """Copy the students that improved; a student's slice lies on a parameter's last or first axis."""
    wide = better.repeat_interleave(students.width)
    now = students.state_dict()
    kept["hidden"][:, wide] = now["hidden"][:, wide]
    kept["hidden_bias"][wide] = now["hidden_bias"][wide]
    kept["readout"][better] = now["readout"][better]
    kept["readout_bias"][better] = now["readout_bias"][better]

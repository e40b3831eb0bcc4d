"""Students: small networks, one a cell (task, regime, member), all in one batched tensor.

A student is one hidden layer of `width` units; measured, two layers were no better and cost more.
Order of students: task, then regime, then member: student i serves task i // (regimes x members).
A student learns from what happened and, where a teacher spoke, from its features and forecasts:

    Huber(y) + λ_f ‖ẑ − z‖² + λ_kd (ŷ − teacher's y)²

Knowledge distillation: Hinton 2015; hints: FitNets, Romero 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import ModelError
from models.features.book_features import TASKS
from models.features.dataset import Dataset
from models.features.labels import cells
from models.features.scaler import Scaler, linear_fit
from models.training.train_config import StudentConfig


class Students(nn.Module):  # type: ignore[misc]
    """Batched one-layer networks beside a linear path: latent relu(x W + b), output x·u + z·v + c.

    u is the task's ridge regression on the training span and stays: what is linear is known in closed
    form, the networks add the rest. With `shared`, all read one hidden layer as wide as all students
    together: one network with a head a task, the baseline of the same size.
    """

    def __init__(self, features: int, config: StudentConfig, hints: int = 0, shared: bool = False) -> None:
        super().__init__()
        self.shared = shared
        self.count = len(TASKS) if shared else config.count
        self.width = config.width * config.count if shared else config.width
        scale = (2.0 / features) ** 0.5 * 0.7
        hidden = self.width if shared else self.count * self.width
        self.hidden = nn.Parameter(torch.randn(features, hidden) * scale)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.readout = nn.Parameter(torch.zeros(self.count, self.width))
        self.readout_bias = nn.Parameter(torch.zeros(self.count))
        self.register_buffer("linear", torch.zeros(features, len(TASKS)))
        self.hint = nn.Parameter(torch.randn(self.count, self.width, hints) * 0.1) if hints else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (batch, features) to outputs (batch, students) and latents (batch, students, width)."""
        latent = torch.relu(x @ self.hidden + self.hidden_bias)
        straight = (x @ self.linear).repeat_interleave(self.count // len(TASKS), 1)
        if self.shared:
            latent = latent[:, None, :].expand(-1, self.count, -1)
        else:
            latent = latent.view(-1, self.count, self.width)
        return straight + (latent * self.readout).sum(-1) + self.readout_bias, latent

    def hidden_layer(self) -> tuple[Tensor, Tensor]:
        """Weights (features, students x width) and biases, a shared layer once for each student."""
        copies = self.count if self.shared else 1
        return self.hidden.detach().repeat(1, copies), self.hidden_bias.detach().repeat(copies)


class Teaching(Protocol):
    """What a teacher says of windows: by their place among the windows it has seen."""

    def feature(self, rows: Tensor) -> Tensor | None:
        """Features to imitate (rows, students, k)."""

    def forecast(self, rows: Tensor) -> Tensor:
        """Standardised forecasts (rows, students)."""


class Lessons(msgspec.Struct, frozen=True):
    """A teacher's word on some of the training rows.

    Attributes
    ----------
    teaching : Teaching
    index : ndarray (rows of the training data,) int64
        Place of the row among the teacher's windows, -1 where it is silent.
    hints : int
        k, size of the features to imitate; 0 for none.
    feature_weight : float
        λ_f.
    forecast_weight : ndarray (tasks,)
        λ_kd.

    """

    teaching: Teaching
    index: NDArray[np.int64]
    hints: int
    feature_weight: float
    forecast_weight: NDArray[np.float32]


type Report = Callable[[int, float], None]


def train(
    data: Dataset,
    scaler: Scaler,
    config: StudentConfig,
    report: Report,
    valid: Dataset | None = None,
    lessons: Lessons | None = None,
    shared: bool = False,
) -> Students:
    """Teach students; each keeps its best epoch on the validation span (else the training span's tail).

    Parameters
    ----------
    data : Dataset
    scaler : Scaler
    config : StudentConfig
    report : callable
        Takes epoch and best loss.
    valid : Dataset or None
    lessons : Lessons or None
        None leaves the labels as the only teacher.
    shared : bool
        One network with a head a task instead.

    Raises
    ------
    ModelError
        Too few samples to train on, or a loss that is not finite.

    """
    if len(data) < 200:
        raise ModelError(f"only {len(data)} samples to train on; record more days (`cmm record`)")
    torch.manual_seed(config.seed)
    if valid is None:
        cut = int(data.ts_ns[int(len(data) * (1 - config.tail))])
        valid = data.since(cut)
        early = data.ts_ns + round(data.spec.horizon_s * 1e9) < cut
        index = lessons.index[early] if lessons is not None else None
        data = data.rows(early)
    else:
        index = lessons.index if lessons is not None else None
    students = Students(data.features.shape[1], config, lessons.hints if lessons else 0, shared)
    students.linear.copy_(torch.from_numpy(linear_fit([data], scaler)))
    x, y, weight = _tensors(data, scaler, config, shared)
    x_valid, y_valid, weight_valid = _tensors(valid, scaler, config, shared)
    optimiser = torch.optim.AdamW(students.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    best = torch.full((students.count,), float("inf"))
    kept = _copy(students)
    idle = 0
    for epoch in range(config.epochs):
        students.train()
        for rows in torch.randperm(len(x)).split(config.batch):
            seen = x[rows] * (torch.rand(len(rows), x.shape[1]) > config.dropout)
            output, latent = students(seen)
            loss = (_huber(output - y[rows]) * weight[rows]).mean(0).sum()
            if lessons is not None and index is not None:
                loss = loss + _distillation(students, lessons, index[rows.numpy()], output, latent, weight[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(students.parameters(), 5.0)
            optimiser.step()
        students.eval()
        with torch.no_grad():
            error = (_huber(students(x_valid)[0] - y_valid) * weight_valid).mean(0)
        if not bool(torch.isfinite(error).all()):
            raise ModelError("the students' loss is not finite; lower train.students.learning_rate")
        better = error < best - 1e-4
        if shared:  # one layer serves all tasks: an epoch is kept or dropped for all of them
            better = (error.mean() < best.mean() - 1e-4).expand(students.count)
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
        y, z = students(torch.from_numpy(scaler.features(data)))
    return y.double().numpy(), z.double().numpy()


def _distillation(
    students: Students, lessons: Lessons, index: NDArray[np.int64], output: Tensor, latent: Tensor, weight: Tensor
) -> Tensor:
    """λ_f and λ_kd terms over the rows of a batch on which the teacher spoke."""
    known = torch.from_numpy(np.flatnonzero(index >= 0))
    if not len(known):
        return torch.zeros(())
    places = torch.from_numpy(index[known.numpy()])
    strength = torch.from_numpy(lessons.forecast_weight).repeat_interleave(students.count // len(TASKS))
    error = (output[known] - lessons.teaching.forecast(places)) ** 2
    loss = (error * weight[known]).mean(0) @ strength
    wanted = lessons.teaching.feature(places) if students.hint is not None and lessons.feature_weight else None
    if wanted is not None:
        imitated = torch.bmm(latent[known].transpose(0, 1), students.hint).transpose(0, 1)
        loss = loss + lessons.feature_weight * (((imitated - wanted) ** 2).mean(-1) * weight[known]).mean(0).sum()
    return loss


def _tensors(data: Dataset, scaler: Scaler, config: StudentConfig, shared: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Features (rows, features), targets and weights (rows, students)."""
    x, targets = torch.from_numpy(scaler.features(data)), torch.from_numpy(scaler.targets(data))
    if shared:
        return x, targets, torch.ones_like(targets)
    per_task = config.regimes * config.members
    task = [i // per_task for i in range(config.count)]
    regime = torch.tensor([i // config.members % config.regimes for i in range(config.count)])
    inside = torch.from_numpy(cells(data.regime, config.regimes))[:, None] == regime
    weight = torch.where(inside, 1.0, config.outside_weight)
    return x, targets[:, task], weight / weight.mean(0)


def _huber(error: Tensor, knee: float = 1.5) -> Tensor:
    return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=knee)


def _copy(students: Students) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in students.state_dict().items()}


def _keep(kept: dict[str, Tensor], students: Students, better: Tensor) -> None:
    """Copy the students that improved; a student's slice lies on a parameter's last or first axis."""
    now = students.state_dict()
    if students.shared:
        if bool(better.any()):
            kept.update(_copy(students))
        return
    wide = better.repeat_interleave(students.width)
    kept["hidden"][:, wide] = now["hidden"][:, wide]
    kept["hidden_bias"][wide] = now["hidden_bias"][wide]
    for name in ("readout", "readout_bias", "hint"):
        if name in kept:
            kept[name][better] = now[name][better]

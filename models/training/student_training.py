"""Trains students: on what happened and, where a teacher covers a row, on its features and forecasts.

    Huber(y) + λ_f ‖ẑ − z‖² + λ_kd (ŷ − teacher's y)²

Knowledge distillation: Hinton 2015; hints: FitNets, Romero 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.features.book_features import TASKS
from models.features.dataset import Dataset
from models.features.labels import cells
from models.features.scaler import Scaler, linear_fit
from models.training.distillation_targets import DistillationTargets
from models.training.students import Students
from models.training.train_config import StudentConfig

type EpochReport = Callable[[int, float], None]
"""Takes epoch and best loss."""

_LEAST_ROWS = 200
_LEAST_GAIN = 1e-4  # of a loss, for an epoch to count as better


class StudentData(msgspec.Struct, frozen=True):
    """What students learn from, and the span on which each one's best epoch is chosen; without one, the training span's
    tail serves."""

    train: Dataset
    scaler: Scaler
    valid: Dataset | None = None


def train(
    data: StudentData,
    config: StudentConfig,
    report: EpochReport,
    targets: DistillationTargets | None = None,
    *,
    shared: bool = False,
) -> Students:
    """Teach students; each keeps its best epoch on the validation span.

    Parameters
    ----------
    data : StudentData
    config : StudentConfig
    report : callable
    targets : DistillationTargets or None
        None leaves the labels as the only teacher.
    shared : bool
        One network with a head a task instead.

    Raises
    ------
    ModelError
        Too few samples to train on, or a loss that is not finite.

    """
    if len(data.train) < _LEAST_ROWS:
        raise ModelError(f"only {len(data.train)} samples to train on; record more days (`cmm record`)")
    torch.manual_seed(config.seed)
    if data.valid is None:
        data, targets = _cut_tail(data, config.tail, targets)
    assert data.valid is not None
    students = Students(
        data.train.features.shape[1], config, targets.components if targets is not None else 0, shared=shared
    )
    students.linear.copy_(torch.from_numpy(linear_fit([data.train], data.scaler)))
    seen = _tensors(data.train, data.scaler, students, config)
    held_out = _tensors(data.valid, data.scaler, students, config)
    optimiser = torch.optim.AdamW(students.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    best = _Best(students)
    idle = 0
    for epoch in range(config.epochs):
        students.train()
        for rows in torch.randperm(len(seen.x)).split(config.batch):
            loss = _loss(students, seen, rows, targets, config.dropout)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(students.parameters(), 5.0)
            optimiser.step()
        students.eval()
        with torch.no_grad():
            error = (_huber(students(held_out.x)[0] - held_out.y) * held_out.weight).mean(0)
        if not bool(torch.isfinite(error).all()):
            raise ModelError("the students' loss is not finite; lower train.students.learning_rate")
        idle = 0 if best.take(students, error) else idle + 1
        report(epoch + 1, float(best.error.mean()))
        if idle >= config.patience:
            break
    students.load_state_dict(best.state)
    students.eval()
    return students


def _cut_tail(
    data: StudentData, tail: float, targets: DistillationTargets | None
) -> tuple[StudentData, DistillationTargets | None]:
    """Keep the end of the training span, purged by the horizon, to choose epochs on."""
    whole = data.train
    cut = int(whole.ts_ns[int(len(whole) * (1 - tail))])
    early = whole.ts_ns + round(whole.spec.horizon_s * 1e9) < cut
    kept = targets.rows(early) if targets is not None else None
    return StudentData(whole.rows(early), data.scaler, whole.since(cut)), kept


class _Tensors(NamedTuple):
    x: Tensor  # (rows, features)
    y: Tensor  # (rows, students)
    weight: Tensor  # (rows, students)


def _tensors(data: Dataset, scaler: Scaler, students: Students, config: StudentConfig) -> _Tensors:
    """Features, targets and weights: less outside a student's regime."""
    x, targets = torch.from_numpy(scaler.features(data)), torch.from_numpy(scaler.targets(data))
    if students.shared:
        return _Tensors(x, targets, torch.ones_like(targets))
    per_task = config.regimes * config.members
    task = [i // per_task for i in range(config.count)]
    regime = torch.tensor([i // config.members % config.regimes for i in range(config.count)])
    inside = torch.from_numpy(cells(data.regime, config.regimes))[:, None] == regime
    weight = torch.where(inside, 1.0, config.outside_weight)
    return _Tensors(x, targets[:, task], weight / weight.mean(0))


def _loss(
    students: Students, seen: _Tensors, rows: Tensor, targets: DistillationTargets | None, dropout: float
) -> Tensor:
    """Of a batch, summed over the students."""
    x, weight = seen.x[rows], seen.weight[rows]
    output, latent = students(x * (torch.rand(len(rows), x.shape[1]) > dropout))
    loss = (_huber(output - seen.y[rows]) * weight).mean(0).sum()
    if targets is None:
        return loss
    place = targets.place[rows.numpy()]
    covered = torch.from_numpy(np.flatnonzero(place >= 0))
    if not len(covered):
        return loss
    windows = torch.from_numpy(place[covered.numpy()])
    return loss + _distillation(students, targets, windows, (output[covered], latent[covered], weight[covered]))


def _distillation(
    students: Students, targets: DistillationTargets, windows: Tensor, covered: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """λ_f and λ_kd terms over the covered rows' outputs, latents and weights."""
    output, latent, weight = covered
    strength = torch.from_numpy(targets.forecast_weight).repeat_interleave(students.count // len(TASKS))
    error = (output - targets.outputs.forecast(windows)) ** 2
    loss = (error * weight).mean(0) @ strength
    wanted = targets.outputs.feature(windows) if students.hint is not None and targets.feature_weight else None
    if wanted is not None:
        imitated = torch.bmm(latent.transpose(0, 1), students.hint).transpose(0, 1)
        loss = loss + targets.feature_weight * (((imitated - wanted) ** 2).mean(-1) * weight).mean(0).sum()
    return loss


def _huber(error: Tensor, knee: float = 1.5) -> Tensor:
    return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=knee)


class _Best:
    """Each student's best epoch so far."""

    def __init__(self, students: Students) -> None:
        self.error = torch.full((students.count,), float("inf"))
        self.state = _copy(students)

    def take(self, students: Students, error: Tensor) -> bool:
        """Keep the students whose held-out error (students,) fell; return whether any did."""
        better = error < self.error - _LEAST_GAIN
        if students.shared:  # one layer serves all tasks: an epoch is kept or dropped for all of them
            better = (error.mean() < self.error.mean() - _LEAST_GAIN).expand(students.count)
        self.error = torch.where(better, error, self.error)
        any_better = bool(better.any())
        if students.shared:
            if any_better:
                self.state.update(_copy(students))
            return any_better
        now = students.state_dict()
        wide = better.repeat_interleave(students.width)  # a student's slice lies on the last axis, or the first
        self.state["hidden"][:, wide] = now["hidden"][:, wide]
        self.state["hidden_bias"][wide] = now["hidden_bias"][wide]
        for name in ("readout", "readout_bias", "hint"):
            if name in self.state:
                self.state[name][better] = now[name][better]
        return any_better


def _copy(students: Students) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in students.state_dict().items()}

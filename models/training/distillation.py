"""Stage three: what the teacher gives its students to imitate, and the students that learn it."""

from __future__ import annotations

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.features.book_features import TASKS
from models.features.labels import cells
from models.training import decompose, store, student_training, students
from models.training.context import Context
from models.training.decompose import Windows
from models.training.distillation_targets import DistillationTargets
from models.training.layer_groups import Bounds, thirds
from models.training.metrics import ByAxis, TeacherError
from models.training.student_training import StudentData
from models.training.students import Students
from models.training.teacher_run import TeacherRun, places


def train_students(context: Context, what: str, targets: DistillationTargets | None = None) -> Students:
    """Students of all cells; without targets they learn from what happened alone. `what` names them in the report."""
    return _train(context, what, targets, shared=False)


def train_network(context: Context, what: str, targets: DistillationTargets | None = None) -> Students:
    """One network of the students' size, a head a task."""
    return _train(context, what, targets, shared=True)


def _train(context: Context, what: str, targets: DistillationTargets | None, *, shared: bool) -> Students:
    config = context.config.students

    def report(epoch: int, loss: float) -> None:
        context.report(f"{what}: epoch {epoch} of {config.epochs}, loss {loss:.4f}")

    data = StudentData(context.data.train, context.scaler, context.data.valid)
    return student_training.train(data, config, report, targets, shared=shared)


def compare_with_labels(context: Context, run: TeacherRun, by_labels: Students) -> dict[str, TeacherError]:
    """By task, whether the teacher errs less than students taught by labels, on the validation windows it forecast."""
    valid, scaler = context.data.valid, context.scaler
    small = run.valid.small()
    place = places(valid, small)
    covered = valid.rows(place >= 0)
    y, _ = students.outputs(by_labels, scaler, covered)
    labels = y.reshape(len(y), len(TASKS), -1).mean(-1)
    outcome, forecast = scaler.targets(covered), small.forecast[place[place >= 0]]
    teacher, other = (((f - outcome) ** 2).mean(0) for f in (forecast, labels))
    return {
        task: TeacherError(float(teacher[i]), float(other[i]), bool(teacher[i] < other[i]))
        for i, task in enumerate(TASKS)
    }


class DecompositionPlan(msgspec.Struct, frozen=True):
    """A teacher whose states are to be decomposed: its layer groups, and λ_kd by task."""

    run: TeacherRun
    bounds: Bounds
    forecast_weight: NDArray[np.float32]


def plan_decomposition(
    context: Context, run: TeacherRun, bounds: Bounds, errors: dict[str, TeacherError]
) -> DecompositionPlan:
    """Forecasts are distilled only in tasks where the teacher errs less than students taught by labels."""
    weight = context.config.ofdd.forecast_weight
    return DecompositionPlan(
        run, bounds, np.array([weight if e.distilled else 0.0 for e in errors.values()], np.float32)
    )


def cell_targets(context: Context, plan: DecompositionPlan, strengths: ByAxis) -> tuple[DistillationTargets, ByAxis]:
    """A feature and a forecast for each cell, decoupled with these strengths; and the overlap that is left."""
    config, regimes = context.config, context.config.students.regimes
    small = plan.run.train.small()
    windows = Windows(_group_states(context, plan.run, plan.bounds), small.target, cells(small.regime, regimes))
    found = decompose.fit(windows, config.students, strengths, config.ofdd)
    o = config.ofdd
    targets = DistillationTargets(found, plan.run.place, o.components, o.feature_weight, plan.forecast_weight)
    return targets, found.overlap


class _Network:
    """A teacher's forecasts (windows, tasks) and hints (windows, k), the same for all heads of one network."""

    def __init__(self, forecasts: NDArray[np.float32], hints: NDArray[np.float32] | None) -> None:
        self._forecasts, self._hints = torch.from_numpy(forecasts), hints

    def feature(self, rows: Tensor) -> Tensor | None:
        if self._hints is None:
            return None
        return torch.from_numpy(self._hints[rows.numpy()])[:, None].expand(-1, len(TASKS), -1)

    def forecast(self, rows: Tensor) -> Tensor:
        return self._forecasts[rows]


def forecast_targets(context: Context, run: TeacherRun) -> DistillationTargets:
    """The teacher's own forecasts (Hinton 2015)."""
    o = context.config.ofdd
    outputs = _Network(run.train.small().forecast, None)
    weights = np.full(len(TASKS), o.forecast_weight, np.float32)
    return DistillationTargets(outputs, run.place, 0, o.feature_weight, weights)


def hint_targets(context: Context, run: TeacherRun) -> DistillationTargets:
    """The teacher's middle layers (Romero 2015)."""
    bounds = thirds(next(iter(run.train)).states.shape[1], 3)
    hints = np.ascontiguousarray(_group_states(context, run, bounds)[:, 1])
    outputs = _Network(run.train.small().forecast, hints)
    none = np.zeros(len(TASKS), np.float32)
    return DistillationTargets(outputs, run.place, hints.shape[1], context.config.ofdd.feature_weight, none)


def _group_states(context: Context, run: TeacherRun, bounds: Bounds) -> NDArray[np.float32]:
    """Whitened means of layer groups (windows, groups, components)."""
    config = context.config.teacher
    path = run.folder / f"groups-{store.key(bounds, config.states, config.layers)}.npy"
    return decompose.group_states(run.train, bounds, path)

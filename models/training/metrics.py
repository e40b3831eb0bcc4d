"""What a training measured: the structs behind an artifact's `metrics.json` and its card.

Names in the file are those of earlier artifacts, where they differ from the fields' here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from models.features.scores import JUDGED, Metric, Score, beats
from models.training.train_config import Kind

type Forecasts = dict[str, NDArray[np.float64]]
"""Natural units (rows, 3), by who forecasts."""

HAJEK_MOE = "Hájek-MoE"
MEAN = "mean of students"
LABELS_MEAN = "students by labels, mean"
LIGHTGBM = "LightGBM"
ONLINE = "Hájek-MoE, recalibrated online"


class ByAxis(msgspec.Struct, frozen=True):
    """A number for each axis of the decomposition: tasks, data (regimes), layers."""

    task: float
    data: float
    layer: float


class TeacherError(msgspec.Struct, frozen=True):
    """Mean squared errors in one task on the windows that the teacher forecast, standardised; the smaller one decides
    whether the teacher's forecasts are distilled."""

    teacher_error: float
    labels_error: float
    distilled: bool


class Separation(msgspec.Struct, frozen=True):
    """How far the students' features have separated, see `separation.separation`."""

    silhouette: float
    cka: float
    cka_task: float
    cka_data: float
    cka_layer: float


class SeparationAt(msgspec.Struct, frozen=True):
    """Separation of students that were taught with a multiple of the strengths; None: by labels alone."""

    strength: float | None
    silhouette: float
    cka: float
    cka_task: float
    cka_data: float
    cka_layer: float
    overlap: ByAxis | UnsetType = UNSET
    ic_mid_of_mean: float | UnsetType = UNSET


class Robustness(msgspec.Struct, frozen=True):
    """IC of the mid, and at worst when one student is noise: of the fusion and of the plain mean."""

    ic_mid: float
    worst: float | UnsetType = UNSET
    mean: float | UnsetType = UNSET
    mean_worst: float | UnsetType = UNSET


class Parity(msgspec.Struct, frozen=True):
    """Worst relative difference of the exported graph to torch: by ONNX Runtime, and as `ensemble.forward` runs it."""

    rows: int
    onnx: float
    compiled: float


class GateTask(msgspec.Struct, frozen=True):
    """One task's metric, mean over the folds; None where it was not trained in all of them."""

    metric: Metric
    shipped: float | None = msgspec.field(name=HAJEK_MOE)
    mean: float | None = msgspec.field(name=MEAN)
    lightgbm: float | None = msgspec.field(name=LIGHTGBM)
    passed: bool


class Gate(msgspec.Struct, frozen=True):
    """Whether the ensemble beats LightGBM and the mean of its students in every task."""

    folds: int
    tasks: dict[str, GateTask]
    passed: bool


class Metrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that was measured; what does not belong to a kind of training is absent.

    Attributes
    ----------
    teacher_against_labels : dict[str, TeacherError]
        By task, on the validation span.
    overlap : ByAxis
        Of the cells' projections that were taught.
    separation : list[SeparationAt]
    robustness : Robustness
    reported_on : str
        The split that everything below is of: test, or valid where there is no test.
    test_days : list[str]
    scores : dict[str, Score]
        Ensemble, other ways to fuse its students, baselines, ablations.
    against : dict[str, Score]
        The ensemble's less those of its main rivals.
    valid : Score
        The ensemble's on the validation span.
    teacher_rows, teacher_minus : dict[str, Score]
        On the windows that the teacher forecast: its own head beside others, and less others.
    parity, gate, folds : Parity, Gate, list[Metrics]
        Known when the artifact is written.

    """

    kind: Kind
    teacher_against_labels: dict[str, TeacherError] | None = None
    overlap: ByAxis | None = None
    separation: list[SeparationAt] | None = None
    robustness: Robustness
    reported_on: str
    test_days: list[str]
    scores: dict[str, Score] = msgspec.field(name="contestants")
    against: dict[str, Score]
    valid: Score
    teacher_rows: dict[str, Score] | None = None
    teacher_minus: dict[str, Score] | None = None
    parity: Parity | None = None
    gate: Gate | None = None
    folds: list[Metrics] | None = None


def judge_gate(folds: Sequence[Metrics]) -> Gate:
    """Whether the ensemble beats LightGBM and the mean of its students, task by task, on the folds' mean."""

    def mean(who: str, metric: Metric) -> float | None:
        found = [fold.scores[who].value(metric) for fold in folds if who in fold.scores]
        return float(np.mean(found)) if len(found) == len(folds) else None

    tasks: dict[str, GateTask] = {}
    for task, metric in JUDGED.items():
        shipped, *rivals = (mean(who, metric) for who in (HAJEK_MOE, MEAN, LIGHTGBM))
        passed = shipped is not None and all(rival is not None and beats(metric, shipped, rival) for rival in rivals)
        tasks[task] = GateTask(metric, shipped, *rivals, passed)  # type: ignore[call-arg, arg-type]
    return Gate(len(folds), tasks, all(task.passed for task in tasks.values()))

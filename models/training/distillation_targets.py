"""Distillation targets: what a teacher gives students to imitate besides the outcomes."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class TeacherOutputs(Protocol):
    """What a teacher says of windows, by their place among the windows that it has seen."""

    def feature(self, rows: Tensor) -> Tensor | None:
        """Features to imitate (rows, students, k)."""

    def forecast(self, rows: Tensor) -> Tensor:
        """Standardised forecasts (rows, students)."""


class DistillationTargets(msgspec.Struct, frozen=True):
    """A teacher's outputs on some of the training rows, and how much each counts.

    Attributes
    ----------
    outputs : TeacherOutputs
    place : ndarray (rows of the training data,) int64
        Place of the row among the teacher's windows, -1 where it covers none.
    components : int
        k, size of the features to imitate; 0 for none.
    feature_weight : float
        λ_f.
    forecast_weight : ndarray (tasks,)
        λ_kd.

    """

    outputs: TeacherOutputs
    place: NDArray[np.int64]
    components: int
    feature_weight: float
    forecast_weight: NDArray[np.float32]

    def rows(self, keep: NDArray[np.bool_]) -> DistillationTargets:
        """Of the training rows that a mask (rows,) keeps."""
        return msgspec.structs.replace(self, place=self.place[keep])

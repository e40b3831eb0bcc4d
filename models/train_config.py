"""Settings of training; apart from it, so that reading a configuration loads neither torch nor scipy."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from models.features import REGIMES, TASKS


class StudentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How students are trained.

    Parameters
    ----------
    members : int
        Students a cell of task and regime; taught by labels alone they differ by their seed.
    width : int
        Hidden units of a student.
    outside_weight : float
        Weight of samples outside a student's regime (1 inside).
    epochs, batch, learning_rate, weight_decay, dropout, patience : float
        The optimiser's settings; patience in epochs without improvement of any student.
    tail : float
        Share of the training span, its end, on which each student's best epoch is chosen.
    seed : int
        Seeds initial weights, order and dropout.

    """

    members: Annotated[int, Meta(ge=1, le=9)] = 3
    width: Annotated[int, Meta(ge=1, le=256)] = 16
    outside_weight: float = 0.5
    epochs: Annotated[int, Meta(ge=1)] = 30
    batch: Annotated[int, Meta(ge=8)] = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1
    patience: int = 5
    tail: Annotated[float, Meta(gt=0, lt=0.5)] = 0.15
    seed: int = 7

    @property
    def count(self) -> int:
        return len(TASKS) * len(REGIMES) * self.members


class FusionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the fusion.

    Parameters
    ----------
    kernel_features : int
        D, size of the common space.
    bandwidth : float
        h in robust standard deviations of the students' disagreement.
    outside_weight : float
        Weight of calibration samples outside a student's regime.
    gamma : bool
        Fit γ (dependence-corrected projection) for tasks of square loss; else equal weights.
    seed : int
        Draws W and b.

    """

    kernel_features: int = 32
    bandwidth: float = 3.0
    outside_weight: float = 0.5
    gamma: bool = True
    seed: int = 11


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of students and fusion."""

    students: StudentConfig = StudentConfig()
    fusion: FusionConfig = FusionConfig()

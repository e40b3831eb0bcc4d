"""Hájek-projection mixture of experts: many students into one forecast and a confidence.

Per task with n students, fitted on a calibration split that no student has seen:

    m_i(x) = y_i + β_i·φ(z_i) + b_i − μ        φ(z) = √(2/D) cos(zW + b), shared by all students
    c_i    = 1 / (1 + (m_i − median_j m_j)² / h²)
    T      = μ + (Σ g_i) Σ g_i c_i m_i / Σ g_i c_i        confidence = Σ g_i c_i / Σ g_i

Hájek projection: van der Vaart, Asymptotic Statistics, ch. 11 (the textbook sum assumes independent
students; dependence is corrected by γ); self-normalised sum: Hájek 1971; random features: Rahimi
and Recht 2007. The reading is ours: the paper's equations are not public to us.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]

LOSSES = ("square", "absolute", "square")  # per task, in the task's own metric


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


class StudentOutputs(msgspec.Struct, frozen=True):
    """What the students said on a span of time, and what came of it.

    Attributes
    ----------
    y : ndarray (rows, students)
        Outputs, standardised.
    z : ndarray (rows, students, width)
        Latents.
    target : ndarray (rows, tasks)
        Outcomes, standardised.
    regime : ndarray (rows,)
        In 0 … regimes - 1, as `labels.cells`.
    ts_ns : ndarray (rows,)

    """

    y: Array
    z: Array
    target: Array
    regime: NDArray[np.int64]
    ts_ns: NDArray[np.int64]


class Fusion(msgspec.Struct, frozen=True):
    """Fitted parameters; `tasks` x `n` students of `width` latents, D kernel features.

    Attributes
    ----------
    mean : ndarray (tasks,)
        μ.
    scale : ndarray (width,)
        Of the latents.
    projection, phase : ndarray (width, D), (D,)
        W and b of the kernel features.
    beta, offset : ndarray (tasks * n, D), (tasks * n,)
    weight : ndarray (tasks, n)
        g.
    bandwidth : ndarray (tasks,)
        h².
    ridges, gamma_ridges : list[float]
        Strengths by task, chosen by cross-validation; inf is off, and where γ is not fitted.

    """

    mean: Array
    scale: Array
    projection: Array
    phase: Array
    beta: Array
    offset: Array
    weight: Array
    bandwidth: Array
    ridges: list[float]
    gamma_ridges: list[float]

    def members(self, y: Array, z: Array) -> Array:
        """Centred members m (rows, tasks, n) from outputs (rows, students) and latents (rows, students, width)."""
        m = y + np.einsum("nsd,sd->ns", self.phi(z), self.beta) + self.offset
        centred: Array = m.reshape(len(y), len(self.mean), -1) - self.mean[:, None]
        return centred

    def predict(self, y: Array, z: Array) -> tuple[Array, Array]:
        """Forecast and confidence, each (rows, tasks); arguments as `members`."""
        m = self.members(y, z)
        c = self.weight / self.discount(m)
        total = self.weight.sum(-1)
        return self.mean + total * (c * m).sum(-1) / c.sum(-1), c.sum(-1) / total

    def discount(self, m: Array) -> Array:
        """What each member's weight is divided by for its distance from the consensus, 1 + (m - median)² / h²."""
        distance = m - np.median(m, -1, keepdims=True)
        discount: Array = 1.0 + distance**2 / self.bandwidth[:, None]
        return discount

    def phi(self, z: Array) -> Array:
        """Kernel features (rows, students, D) of latents (rows, students, width)."""
        phi: Array = np.cos((z / self.scale) @ self.projection + self.phase) * np.sqrt(2.0 / len(self.phase))
        return phi


class Comparisons(msgspec.Struct, frozen=True):
    """Other ways to fuse the same students: forecasts (rows, tasks), standardised.

    Attributes
    ----------
    mean, median : ndarray
        Of the raw outputs.
    regime_gate : ndarray
        Mean of the students of the current regime.
    hajek_sum : ndarray
        The textbook projection Σ (E[T|X_i] − μ) + μ, which assumes independent students.

    """

    mean: Array
    median: Array
    regime_gate: Array
    hajek_sum: Array


def comparisons(fusion: Fusion, outputs: StudentOutputs, regimes: int) -> Comparisons:
    """Fuse the same students in other ways."""
    tasks = len(fusion.mean)
    raw = outputs.y.reshape(len(outputs.y), tasks, -1)
    n = raw.shape[2]
    mine = np.array([regime_of(i, n, regimes) for i in range(n)]) == outputs.regime[:, None]
    return Comparisons(
        mean=raw.mean(-1),
        median=np.median(raw, -1),
        regime_gate=(raw * mine[:, None]).sum(-1) / mine.sum(1)[:, None],
        hajek_sum=fusion.mean + fusion.members(outputs.y, outputs.z).sum(-1),
    )


def regime_of(student: int, n: int, regimes: int) -> int:
    """Regime of a student's cell; n students a task."""
    return student % n // (n // regimes)

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

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from models.features.book_features import TASKS
from models.features.choice import OFF, plainest
from models.training.train_config import FusionConfig

type Array = NDArray[np.float64]
type Blocks = list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]
"""(fit, held out) masks."""

_RIDGES = (OFF, 3.0, 1.0, 0.3, 0.1, 0.01)
_GAMMA_RIDGES = (OFF, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
_BLOCKS = 8
_CHOICE_ROWS = 8_000
LOSSES = ("square", "absolute", "square")  # per task, in the task's own metric


class Fusion(msgspec.Struct, frozen=True):
    """Fitted parameters; `tasks` x `n` students of `width` latents, D kernel features."""

    mean: Array  # (tasks,) μ
    scale: Array  # (width,) of the latents
    projection: Array  # (width, D) W
    phase: Array  # (D,) b
    beta: Array  # (tasks * n, D)
    offset: Array  # (tasks * n,)
    weight: Array  # (tasks, n) g
    bandwidth: Array  # (tasks,) h²
    ridges: list[float]  # chosen by cross-validation; inf is off
    gamma_ridges: list[float]  # likewise, of γ; inf where γ is not fitted

    def members(self, y: Array, z: Array) -> Array:
        """Centred members m (rows, tasks, n) from outputs (rows, students) and latents (rows, students, width)."""
        m = y + np.einsum("nsd,sd->ns", self.phi(z), self.beta) + self.offset
        centred: Array = m.reshape(len(y), len(self.mean), -1) - self.mean[:, None]
        return centred

    def predict(self, y: Array, z: Array) -> tuple[Array, Array]:
        """Forecast and confidence, each (rows, tasks)."""
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


def fit(
    y: Array,
    z: Array,
    target: Array,
    regime: NDArray[np.int64],
    regimes: int,
    ts_ns: NDArray[np.int64],
    purge_ns: int,
    config: FusionConfig,
) -> Fusion:
    """Fit on calibration data.

    Parameters
    ----------
    y : ndarray (rows, students)
        Student outputs.
    z : ndarray (rows, students, width)
        Student latents.
    target : ndarray (rows, tasks)
        Standardised targets.
    regime : ndarray (rows,)
        In 0 … regimes - 1, as `labels.cells`.
    regimes : int
    ts_ns : ndarray (rows,)
    purge_ns : int
        Samples this close to a held-out block are left out of its fit.
    config : FusionConfig

    """
    _, students, width = z.shape
    n, tasks = students // len(TASKS), len(TASKS)
    rng = np.random.default_rng(config.seed)
    scale = z.reshape(-1, width).std(0) + 1e-3
    projection = rng.normal(size=(width, config.kernel_features)) / width**0.5
    phase = rng.uniform(0.0, 2.0 * np.pi, config.kernel_features)
    blank = Fusion(
        mean=target.mean(0),
        scale=scale,
        projection=projection,
        phase=phase,
        beta=np.zeros((students, config.kernel_features)),
        offset=np.zeros(students),
        weight=np.full((tasks, n), 1.0 / n),
        bandwidth=np.ones(tasks),
        ridges=[],
        gamma_ridges=[OFF] * tasks,
    )
    phi = blank.phi(z)
    blocks = _blocks(ts_ns, purge_ns)
    some = np.arange(0, len(y), -(-len(y) // _CHOICE_ROWS))  # neighbours overlap: few rows choose as well
    few = _blocks(ts_ns[some], purge_ns)
    weights = [np.where(regime == r, 1.0, config.outside_weight) for r in range(regimes)]
    for task in range(tasks):
        mine = range(task * n, (task + 1) * n)
        ridge = _choose_ridge(
            phi[some], y[some], target[some, task], [w[some] for w in weights], mine, few, LOSSES[task]
        )
        blank.ridges.append(ridge)
        for i in mine:
            w = weights[regime_of(i, n, regimes)]
            residual = target[:, task] - y[:, i]
            blank.beta[i], blank.offset[i] = _kernel_ridge(phi[:, i], residual, w, ridge, LOSSES[task])
    m = blank.members(y, z)
    for task in range(tasks):
        if config.gamma and LOSSES[task] == "square":
            centred = target[:, task] - blank.mean[task]
            blank.weight[task], blank.gamma_ridges[task] = _fit_gamma_cv(m[:, task], centred, blocks)
        distance = np.abs(m[:, task] - np.median(m[:, task], -1, keepdims=True))
        blank.bandwidth[task] = (config.bandwidth * 1.4826 * np.median(distance)) ** 2 + 1e-9
    return blank


def comparisons(fusion: Fusion, y: Array, z: Array, regime: NDArray[np.int64], regimes: int) -> dict[str, Array]:
    """Other ways to fuse the same students: forecasts (rows, tasks).

    `mean` and `median` of the raw outputs, `regime_gate` the mean of the students of the current regime,
    `hajek_sum` the textbook projection Σ (E[T|X_i] − μ) + μ, which assumes independent students.
    """
    tasks = len(fusion.mean)
    raw = y.reshape(len(y), tasks, -1)
    n = raw.shape[2]
    mine = np.array([regime_of(i, n, regimes) for i in range(n)]) == regime[:, None]
    return {
        "mean": raw.mean(-1),
        "median": np.median(raw, -1),
        "regime_gate": (raw * mine[:, None]).sum(-1) / mine.sum(1)[:, None],
        "hajek_sum": fusion.mean + fusion.members(y, z).sum(-1),
    }


def regime_of(student: int, n: int, regimes: int) -> int:
    """Regime of a student's cell; n students a task."""
    return student % n // (n // regimes)


def _blocks(ts_ns: NDArray[np.int64], purge_ns: int) -> Blocks:
    """(fit, held out) masks of contiguous blocks of equal count, purged on both sides.

    A block lasts six horizons or more; a split too short for three of them chooses nothing.
    """
    count = int(min(_BLOCKS, (ts_ns[-1] - ts_ns[0]) // (6 * purge_ns)))
    if count < 3:
        return []
    edges = [ts_ns[int(q * (len(ts_ns) - 1))] for q in np.linspace(0.0, 1.0, count + 1)]
    edges[-1] += 1
    blocks = []
    for start, stop in pairwise(edges):
        held = (ts_ns >= start) & (ts_ns < stop)
        fitted = (ts_ns < start - purge_ns) | (ts_ns >= stop + purge_ns)
        if held.sum() >= 20 and fitted.sum() >= 100:
            blocks.append((fitted, held))
    return blocks


def _choose_ridge(
    phi: Array, y: Array, target: Array, weights: list[Array], mine: Sequence[int], blocks: Blocks, loss: str
) -> float:
    n = len(mine)
    errors = np.zeros((len(_RIDGES), len(blocks)))
    for b, (fitted, held) in enumerate(blocks):
        for r, ridge in enumerate(_RIDGES):
            mean = np.zeros(int(held.sum()))
            for i in mine:
                w = weights[regime_of(i, n, len(weights))][fitted]
                beta, offset = _kernel_ridge(phi[fitted, i], target[fitted] - y[fitted, i], w, ridge, loss)
                mean += y[held, i] + phi[held, i] @ beta + offset
            error = target[held] - mean / n
            errors[r, b] = float((np.abs(error) if loss == "absolute" else error**2).mean())
    return _RIDGES[plainest(errors)]


def _kernel_ridge(phi: Array, residual: Array, weight: Array, ridge: float, loss: str) -> tuple[Array, float]:
    """Ridge of a residual on kernel features; absolute loss by reweighting."""
    if ridge == OFF:
        return np.zeros(phi.shape[1]), 0.0
    beta, offset = _weighted_ridge(phi, residual, weight, ridge)
    if loss == "absolute":
        floor = 0.05 * float(residual.std()) + 1e-9
        for _ in range(8):
            error = np.abs(residual - phi @ beta - offset)
            beta, offset = _weighted_ridge(phi, residual, weight / np.maximum(error, floor), ridge)
    return beta, offset


def _weighted_ridge(phi: Array, residual: Array, weight: Array, ridge: float) -> tuple[Array, float]:
    w = weight / weight.sum()
    centre, level = w @ phi, float(w @ residual)
    shifted = phi - centre
    gram = (shifted * w[:, None]).T @ shifted + ridge * np.eye(phi.shape[1])
    beta = np.linalg.solve(gram, (shifted * w[:, None]).T @ (residual - level))
    return beta, level - float(centre @ beta)


def _fit_gamma_cv(m: Array, target: Array, blocks: Blocks) -> tuple[Array, float]:
    def fitted(rows: NDArray[np.bool_], ridge: float) -> Array:
        part = m[rows]
        return fit_gamma(part.T @ part / len(part), part.T @ target[rows] / len(part), ridge)

    errors = np.array(
        [[float(((target[h] - m[h] @ fitted(f, r)) ** 2).mean()) for f, h in blocks] for r in _GAMMA_RIDGES]
    )
    best = _GAMMA_RIDGES[plainest(errors)]
    return fitted(np.ones(len(m), bool), best), best


def fit_gamma(gram: Array, moment: Array, ridge: float) -> Array:
    """argmin_{γ≥0} E(T − Σ γ_i m_i)² + λ tr(C)/n ‖γ − κ₀/n‖²: towards the mean, never below zero.

    Parameters
    ----------
    gram : ndarray (n, n)
        C = E m mᵀ.
    moment : ndarray (n,)
        E m T.
    ridge : float
        λ; inf is the plain mean.

    """
    n = len(gram)
    if ridge == OFF:
        return np.full(n, 1.0 / n)
    slope = max(float(moment.mean()) / (float(gram.mean()) + 1e-12), 0.0)  # of T on the mean member
    strength = ridge * float(np.trace(gram)) / n + 1e-12
    chol = np.linalg.cholesky(gram + strength * np.eye(n))
    gamma = nnls(chol.T, np.linalg.solve(chol, moment + strength * slope / n))[0]
    return gamma if gamma.sum() > 1e-6 else np.full(n, 1e-6)  # no skill at all: forecast the mean

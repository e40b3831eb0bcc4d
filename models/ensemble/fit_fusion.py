"""Fits the fusion on a calibration split: kernel corrections, bandwidths, γ, their strengths by cross-validation."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from models.ensemble.fusion import LOSSES, Array, Fusion, FusionConfig, StudentOutputs, regime_of
from models.features.book_features import TASKS
from models.features.choice import OFF, plainest

type Blocks = list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]
"""(fit, held out) masks."""

_RIDGES = (OFF, 3.0, 1.0, 0.3, 0.1, 0.01)
_GAMMA_RIDGES = (OFF, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
_BLOCKS = 8
_CHOICE_ROWS = 8_000


class _Task(msgspec.Struct, frozen=True):
    """One task's n students."""

    phi: Array  # (rows, n, D)
    y: Array  # (rows, n)
    target: Array  # (rows,)
    weights: list[Array]  # by regime, (rows,)
    loss: str

    def weight(self, student: int) -> Array:
        return self.weights[regime_of(student, self.y.shape[1], len(self.weights))]


def fit(outputs: StudentOutputs, regimes: int, purge_ns: int, config: FusionConfig) -> Fusion:
    """Fit on calibration data.

    Parameters
    ----------
    outputs : StudentOutputs
    regimes : int
    purge_ns : int
        Samples this close to a held-out block are left out of its fit.
    config : FusionConfig

    """
    y, z, target, ts_ns = outputs.y, outputs.z, outputs.target, outputs.ts_ns
    fusion = _unfitted(outputs, config)
    n = fusion.weight.shape[1]
    phi = fusion.phi(z)
    some = np.arange(0, len(y), -(-len(y) // _CHOICE_ROWS))  # neighbours overlap: few rows choose as well
    few = _blocks(ts_ns[some], purge_ns)
    few_phi, few_y = phi[some], y[some]
    weights = [np.where(outputs.regime == r, 1.0, config.outside_weight) for r in range(regimes)]
    for task, loss in enumerate(LOSSES):
        mine = slice(task * n, (task + 1) * n)
        choice = _Task(few_phi[:, mine], few_y[:, mine], target[some, task], [w[some] for w in weights], loss)
        fusion.ridges.append(_choose_ridge(choice, few))
        whole = _Task(phi[:, mine], y[:, mine], target[:, task], weights, loss)
        for i in range(n):
            residual = whole.target - whole.y[:, i]
            fusion.beta[task * n + i], fusion.offset[task * n + i] = _kernel_ridge(
                whole.phi[:, i], residual, whole.weight(i), fusion.ridges[task], loss
            )
    m = fusion.members(y, z)
    blocks = _blocks(ts_ns, purge_ns)
    for task, loss in enumerate(LOSSES):
        if config.gamma and loss == "square":
            centred = target[:, task] - fusion.mean[task]
            fusion.weight[task], fusion.gamma_ridges[task] = _fit_gamma_cv(m[:, task], centred, blocks)
        distance = np.abs(m[:, task] - np.median(m[:, task], -1, keepdims=True))
        fusion.bandwidth[task] = (config.bandwidth * 1.4826 * np.median(distance)) ** 2 + 1e-9
    return fusion


def _unfitted(outputs: StudentOutputs, config: FusionConfig) -> Fusion:
    """No correction, equal weights; `fit` fills its arrays."""
    students, width = outputs.z.shape[1:]
    tasks, d = len(TASKS), config.kernel_features
    rng = np.random.default_rng(config.seed)
    return Fusion(
        mean=outputs.target.mean(0),
        scale=outputs.z.reshape(-1, width).std(0) + 1e-3,
        projection=rng.normal(size=(width, d)) / width**0.5,
        phase=rng.uniform(0.0, 2.0 * np.pi, d),
        beta=np.zeros((students, d)),
        offset=np.zeros(students),
        weight=np.full((tasks, students // tasks), 1.0 / (students // tasks)),
        bandwidth=np.ones(tasks),
        ridges=[],
        gamma_ridges=[OFF] * tasks,
    )


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


def _choose_ridge(task: _Task, blocks: Blocks) -> float:
    """The plainest strength by the held-out loss of the students' mean."""
    phi, y, target = task.phi, task.y, task.target
    n = y.shape[1]
    errors = np.zeros((len(_RIDGES), len(blocks)))
    for b, (fitted, held) in enumerate(blocks):
        for r, ridge in enumerate(_RIDGES):
            mean = np.zeros(int(held.sum()))
            for i in range(n):
                residual = target[fitted] - y[fitted, i]
                beta, offset = _kernel_ridge(phi[fitted, i], residual, task.weight(i)[fitted], ridge, task.loss)
                mean += y[held, i] + phi[held, i] @ beta + offset
            error = target[held] - mean / n
            errors[r, b] = float((np.abs(error) if task.loss == "absolute" else error**2).mean())
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

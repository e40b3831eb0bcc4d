"""Moments of students and outcomes from which the fusion is refitted: of a split, or fading with time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.compiled import allocating
from models.ensemble.fusion import LOSSES, Array, Fusion, StudentOutputs, regime_of

_FLOOR = 0.05  # of the absolute loss's reweighting, in deviations of the target


class Moments(NamedTuple):
    """Weighted sums over samples; n students a task, D kernel features.

    Attributes
    ----------
    weight : ndarray (students,)
    phi, residual : ndarray (students, D), (students,)
        Kernel features, and targets less outputs.
    phi_phi, phi_residual : ndarray (students, D, D), (students, D)
    member_member, member_target : ndarray (tasks, n, n), (tasks, n)
        Of centred members and centred targets.
    target : ndarray (tasks,)
    distance : ndarray (tasks,)
        Median distance of the members from their median.
    count : ndarray (1,)

    """

    weight: Array
    phi: Array
    residual: Array
    phi_phi: Array
    phi_residual: Array
    member_member: Array
    member_target: Array
    target: Array
    distance: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody needs; the name stands in artifacts

    @staticmethod
    def empty(fusion: Fusion) -> Moments:
        """Sums of no sample, of the sizes that a fusion needs."""
        (tasks, n), (students, d) = fusion.weight.shape, fusion.beta.shape
        return Moments(
            weight=np.zeros(students),
            phi=np.zeros((students, d)),
            residual=np.zeros(students),
            phi_phi=np.zeros((students, d, d)),
            phi_residual=np.zeros((students, d)),
            member_member=np.zeros((tasks, n, n)),
            member_target=np.zeros((tasks, n)),
            target=np.zeros(tasks),
            distance=np.zeros(tasks),
            count=np.zeros(1),
        )

    def times(self, factor: float) -> Moments:
        """All sums by a factor."""
        return Moments(*(value * factor for value in self))


class Sample(NamedTuple):
    """One sample: y (students,), phi (students, D), target (tasks,), members m (tasks, n), weight (students,)."""

    y: Array
    phi: Array
    target: Array
    m: Array
    weight: Array


class Centre(NamedTuple):
    """What samples are held against: the fusion's μ (tasks,), β (students, D) and b (students,), and which students'
    residuals are judged by absolute loss (students,)."""

    mean: Array
    beta: Array
    offset: Array
    robust: NDArray[np.bool_]

    @staticmethod
    def of(fusion: Fusion) -> Centre:
        """The current parameters; arrays are shared, not copied."""
        robust = np.repeat([loss == "absolute" for loss in LOSSES], fusion.weight.shape[1])
        return Centre(fusion.mean, fusion.beta, fusion.offset, robust)


def regime_weights(fusion: Fusion, regimes: int, outside_weight: float) -> Array:
    """Weight (regimes, students) of a sample of each regime for each student."""
    students, n = len(fusion.beta), fusion.weight.shape[1]
    mine = np.array([regime_of(i, n, regimes) for i in range(students)])
    return np.where(np.arange(regimes)[:, None] == mine, 1.0, outside_weight)


@allocating
def add(keep, sample, centre, sums):  # type: ignore[no-untyped-def]
    """Age all sums by `keep` and add one sample: (float, Sample, Centre, Moments)."""
    tasks, n = sample.m.shape
    d = sample.phi.shape[1]
    for i in range(sample.y.shape[0]):
        residual = sample.target[i // n] - sample.y[i]
        w = sample.weight[i]
        if centre.robust[i]:
            error = residual - centre.offset[i]
            for a in range(d):
                error -= sample.phi[i, a] * centre.beta[i, a]
            w /= max(abs(error), _FLOOR)
        sums.weight[i] = keep * sums.weight[i] + w
        sums.residual[i] = keep * sums.residual[i] + w * residual
        for a in range(d):
            sums.phi[i, a] = keep * sums.phi[i, a] + w * sample.phi[i, a]
            sums.phi_residual[i, a] = keep * sums.phi_residual[i, a] + w * sample.phi[i, a] * residual
            for b in range(d):
                sums.phi_phi[i, a, b] = keep * sums.phi_phi[i, a, b] + w * sample.phi[i, a] * sample.phi[i, b]
    for t in range(tasks):
        m = sample.m[t]
        centred = sample.target[t] - centre.mean[t]
        median = np.median(m)
        sums.target[t] = keep * sums.target[t] + sample.target[t]
        sums.distance[t] = keep * sums.distance[t] + np.median(np.abs(m - median))
        for a in range(n):
            sums.member_target[t, a] = keep * sums.member_target[t, a] + m[a] * centred
            for b in range(n):
                sums.member_member[t, a, b] = keep * sums.member_member[t, a, b] + m[a] * m[b]
    sums.count[0] = keep * sums.count[0] + 1.0


def mean_moments(fusion: Fusion, outputs: StudentOutputs, weights: Array) -> Moments:
    """Mean moments of a split; `weights` as `regime_weights` gives them."""
    sums, centre = Moments.empty(fusion), Centre.of(fusion)
    y, target = outputs.y, outputs.target
    phi, m = fusion.phi(outputs.z), fusion.members(y, outputs.z)
    for i in range(len(y)):
        add(1.0, Sample(y[i], phi[i], target[i], m[i], weights[outputs.regime[i]]), centre, sums)
    return Moments(*(value / len(y) for value in sums))

"""How far the students' features have separated: the paper's figure, in numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.features.book_features import TASKS
from models.training.metrics import Separation

_ROWS = 2000
_POINTS = 60


def separation(z: NDArray[np.float64], regimes: int, members: int) -> Separation:
    """Silhouette of the students' clusters and linear CKA between students.

    Parameters
    ----------
    z : ndarray (rows, students, width)
        Features of each student on the same rows.
    regimes, members : int
        Sizes of the cells' axes.

    Returns
    -------
    Separation
        silhouette: mean over points, the clusters being the students (Rousseeuw 1987); cka: mean over
        pairs of students (Kornblith 2019), also over pairs that differ in one axis alone.

    """
    from sklearn.metrics import silhouette_score

    z = z[:: max(1, len(z) // _ROWS)]
    students = z.shape[1]
    scale = z.reshape(-1, z.shape[2]).std(0) + 1e-9
    few = z[:: max(1, len(z) // _POINTS)] / scale
    points = few.transpose(1, 0, 2).reshape(-1, z.shape[2])
    labels = np.repeat(np.arange(students), len(few))
    silhouette = float(silhouette_score(points, labels)) if students > 1 else 0.0
    cka = _cka(z)
    axes = np.indices((len(TASKS), regimes, members)).reshape(3, -1)
    differs = axes[:, :, None] != axes[:, None, :]
    one_axis = [_mean(cka[differs[axis] & (differs.sum(0) == 1)]) for axis in range(3)]
    return Separation(silhouette, _mean(cka[~np.eye(students, dtype=bool)]), *one_axis)


def _cka(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear centred kernel alignment of every pair, (students, students)."""
    centred = z - z.mean(0)
    students, width = z.shape[1:]
    flat = centred.reshape(len(z), -1)
    gram = (flat.T @ flat).reshape(students, width, students, width)
    cross = (gram**2).sum((1, 3))
    own = np.sqrt(np.maximum(np.diag(cross), 1e-12))
    return cross / own[:, None] / own[None, :]


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else 0.0

"""The ensemble's graph as a compiled loop over rows: the one rule by which anybody forecasts.

A row's forecast must be the same to the bit whether it is made alone, as a live maker does, or among thousands, as a
backtest does. ONNX Runtime does not promise that: in what order its kernels add depends on where a row lies in a batch.
Here each row is computed by itself in float32, every sum in one fixed order, nothing reassociated and nothing fused: a
batch is the loop. The steps are those of `models.training.graph.Ensemble`; an export is checked against both.

Inside, the students lie side by side in the last axis, padded with silent ones, so that a processor computes eight of
them at once: S students in P places, L latents each, D kernel features, n students a task.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.compiled import allocating
from models.ensemble.graph_weights import read_weights
from models.errors import ModelError

VERSION = 1
"""Of the kernels; it changes with any change of their bits."""

OUTPUTS = 6
_LANES = 8
_TASKS = 3
_TURN, _TURNS = 2.0 * math.pi, 0.5 / math.pi
# cos(r) on [-π, π]: Taylor's series in r² as far as its twelfth power, where what is left out is below 1e-11
_C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12 = (
    (-1.0) ** k / math.factorial(2 * k) for k in range(1, 13)
)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)

type Array = NDArray[np.float32]


class Students(NamedTuple):
    """What never moves: scaling, hidden layer and kernel of all students.

    Parameters
    ----------
    mean, limit : (features,)
        A feature less its mean is clipped at ± its limit.
    layer, layer_bias : (features, (L + 1) · P), ((L + 1) · P,)
        Latents before their rectifier, and the linear path last.
    projection, phase : (L, D), (D,)
        Of the kernel features cos(z · projection + phase).

    """

    mean: Array
    limit: Array
    layer: Array
    layer_bias: Array
    projection: Array
    phase: Array


class Fusing(NamedTuple):
    """What recalibration may move: `parameters.graph_parameters`, the readout and its base with places for P students.

    Parameters
    ----------
    readout, base : (L + 1 + D, P), (P,)
    bandwidth, weight, inverse_total : (3,), (3, n), (3,)
    units, offset : (6, 6), (6,)

    """

    readout: Array
    base: Array
    bandwidth: Array
    weight: Array
    inverse_total: Array
    units: Array
    offset: Array


class Said(NamedTuple):
    """What the students said of the last row: known (L + 1 + D, P) and their centred forecasts (P,)."""

    known: Array
    members: Array


class Forward:
    """An artifact's graph, ready to run.

    Parameters
    ----------
    graph : Path

    Raises
    ------
    ModelError
        The file cannot be read, or the graph is not one that this version exports.

    """

    def __init__(self, graph: Path) -> None:
        weights = read_weights(graph)
        if not weights.keys() >= {*Students._fields, *Fusing._fields}:
            raise ModelError(f"{graph}: not a graph of this version; train the artifact again")
        self.count, reads = weights["readout"].shape
        self.latents = len(weights["projection"])
        features, columns = weights["layer"].shape
        if (columns, reads) != (self.count * (self.latents + 1), self.latents + 1 + len(weights["phase"])):
            raise ModelError(f"{graph}: not a graph of this version; train the artifact again")
        self._places = -(-self.count // _LANES) * _LANES
        hidden = self.count * self.latents

        def placed(flat: Array) -> Array:
            """(…, columns of the graph) with latents first and students last, (…, (L + 1) · P)."""
            wide = flat[:, :hidden].reshape(-1, self.count, self.latents).transpose(0, 2, 1)
            whole = np.concatenate([wide, flat[:, None, hidden:]], 1)
            return self._padded(whole).reshape(len(flat), -1)

        self._students = Students(
            _plain(weights["mean"]),
            _plain(weights["limit"]),
            placed(weights["layer"]),
            placed(weights["layer_bias"][None])[0],
            _plain(weights["projection"]),
            _plain(weights["phase"]),
        )
        self.features = features
        self._said = Said(np.zeros((reads, self._places), np.float32), np.zeros(self._places, np.float32))
        self.move(weights)

    def move(self, parameters: dict[str, Array]) -> None:
        """From now on fuse with other parameters, named and shaped as `parameters.graph_parameters` gives them."""
        self._fusing = Fusing(
            self._padded(parameters["readout"].T),
            self._padded(parameters["base"]),
            _plain(parameters["bandwidth"].ravel()),
            *(_plain(parameters[name]) for name in ("weight", "inverse_total", "units", "offset")),
        )

    def run(self, features: Array, out: Array) -> None:
        """Forecast every row.

        Parameters
        ----------
        features : ndarray (rows, features) float32
        out : ndarray (rows, 6) float32
            Mid change in ticks, spread in ticks, log1p volume, and the confidence of each.

        """
        _forecast(features, self._students, self._fusing, self._said, out)

    @property
    def known(self) -> Array:
        """Of the last row: each student's latents, linear path and kernel features (students, L + 1 + D)."""
        return self._said.known[:, : self.count].T.copy()

    @property
    def members(self) -> Array:
        """Of the last row: centred forecasts (tasks, students a task), standardised."""
        return self._said.members[: self.count].reshape(_TASKS, -1).copy()

    def _padded(self, array: Array) -> Array:
        """With silent students in the last axis."""
        return _plain(np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, self._places - self.count)]))


def _plain(array: Array) -> Array:
    """A contiguous array of one's own: all kernels are compiled for that layout alone."""
    return np.array(array, np.float32, order="C")


@allocating
def _forecast(features, students, fusing, said, out):  # type: ignore[no-untyped-def]
    """Write the forecasts of all rows, one after another; `said` is left with the last row's."""
    ranked = np.empty(fusing.weight.shape[1], np.float32)
    for i in range(features.shape[0]):
        _know(features[i], students, said.known)
        _read(said.known, fusing, said.members)
        _fuse(features[i], said.members, fusing, ranked, out[i])


@allocating
def _know(x, students, known):  # type: ignore[no-untyped-def]
    """Latents, linear path and kernel features of all students."""
    latents, places = students.projection.shape[0], known.shape[1]
    straight = known[: latents + 1].reshape((latents + 1) * places)
    _layer(x, students, straight)
    for i in range(latents * places):
        straight[i] = _ZERO if straight[i] < _ZERO else straight[i]
    for d in range(students.phase.shape[0]):
        _project(known, students.projection, d, students.phase[d], known[latents + 1 + d])
    for row in range(latents + 1, known.shape[0]):
        for s in range(places):
            known[row, s] = _cosine(known[row, s])


@allocating
def _layer(x, students, out):  # type: ignore[no-untyped-def]
    """The hidden layer of the clipped features; four features a pass, each sum in their order."""
    layer, n = students.layer, out.shape[0]
    fours = x.shape[0] // 4 * 4
    out[:] = _ZERO
    for k in range(0, fours, 4):
        a, b = _clipped(x, students, k), _clipped(x, students, k + 1)
        c, d = _clipped(x, students, k + 2), _clipped(x, students, k + 3)
        for j in range(n):
            out[j] = (((out[j] + a * layer[k, j]) + b * layer[k + 1, j]) + c * layer[k + 2, j]) + d * layer[k + 3, j]
    for k in range(fours, x.shape[0]):
        a = _clipped(x, students, k)
        for j in range(n):
            out[j] += a * layer[k, j]
    for j in range(n):
        out[j] += students.layer_bias[j]


@allocating
def _clipped(x, students, k):  # type: ignore[no-untyped-def]
    """What is not a number stays so."""
    value, limit = x[k] - students.mean[k], students.limit[k]
    return limit if value > limit else (-limit if value < -limit else value)


@allocating
def _project(known, projection, d, phase, out):  # type: ignore[no-untyped-def]
    """Phase of kernel feature `d` of all students."""
    latents, n = projection.shape[0], out.shape[0]
    fours = latents // 4 * 4
    out[:] = _ZERO
    for k in range(0, fours, 4):
        p, q, r, t = projection[k, d], projection[k + 1, d], projection[k + 2, d], projection[k + 3, d]
        for s in range(n):
            out[s] = (((out[s] + known[k, s] * p) + known[k + 1, s] * q) + known[k + 2, s] * r) + known[k + 3, s] * t
    for k in range(fours, latents):
        p = projection[k, d]
        for s in range(n):
            out[s] += known[k, s] * p
    for s in range(n):
        out[s] += phase


@allocating
def _cosine(x):  # type: ignore[no-untyped-def]
    """Of a float32, right to its last bit but one; a library's own would differ from one processor to the next."""
    wide = np.float64(x)
    r = wide - _TURN * np.rint(wide * _TURNS)
    s = r * r
    upper = (((((_C12 * s + _C11) * s + _C10) * s + _C9) * s + _C8) * s + _C7) * s + _C6
    value = (((((upper * s + _C5) * s + _C4) * s + _C3) * s + _C2) * s + _C1) * s + 1.0
    return np.float32(value)


@allocating
def _read(known, fusing, members):  # type: ignore[no-untyped-def]
    """Centred forecasts of all students."""
    n = members.shape[0]
    members[:] = _ZERO
    for j in range(known.shape[0]):
        for s in range(n):
            members[s] += known[j, s] * fusing.readout[j, s]
    for s in range(n):
        members[s] += fusing.base[s]


@allocating
def _fuse(x, members, fusing, ranked, out):  # type: ignore[no-untyped-def]
    """Consensus of each task, in natural units, into `out (6,)`."""
    tasks, n = fusing.weight.shape
    for task in range(tasks):
        mine = members[task * n : (task + 1) * n]
        median = _median(mine, ranked)
        agreed, weighted = _ZERO, _ZERO
        for i in range(n):
            distance = mine[i] - median
            c = fusing.weight[task, i] / (distance * distance * fusing.bandwidth[task] + _ONE)
            agreed += c
            weighted += c * mine[i]
        out[task] = weighted / agreed
        out[tasks + task] = agreed * fusing.inverse_total[task]
    _to_units(x[x.shape[0] - tasks :], fusing, out)


@allocating
def _to_units(context, fusing, out):  # type: ignore[no-untyped-def]
    """Turn the fused forecasts (3,) at the head of `out` into ticks and log lots, with the scales of their time."""
    tasks = context.shape[0]
    natural = np.empty(2 * tasks, np.float32)
    for j in range(2 * tasks):
        total = _ZERO
        for k in range(tasks):
            total += out[k] * fusing.units[k, j]
        for k in range(tasks):
            total += context[k] * fusing.units[tasks + k, j]
        natural[j] = total + fusing.offset[j]
    for task in range(tasks):
        out[task] = natural[task] * np.float32(math.exp(np.float64(natural[tasks + task])))


@allocating
def _median(values, ranked):  # type: ignore[no-untyped-def]
    """Median of a few; `ranked` is scratch of their number."""
    n = values.shape[0]
    for i in range(n):
        value, at = values[i], i
        while at > 0 and ranked[at - 1] > value:
            ranked[at] = ranked[at - 1]
            at -= 1
        ranked[at] = value
    return ranked[n // 2] if n % 2 else _HALF * (ranked[n // 2] + ranked[n // 2 - 1])

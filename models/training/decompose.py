"""Orthogonal feature decomposition distillation (OFDD): the teacher's states split along layer, task and data.

h_g is the whitened mean of layer group g's states. Cell (g, τ, r) learns z = Pᵀ h_g (k numbers) with

    Σ w_r (y_τ − vᵀz − b)²  +  λ_task ‖P̂_gτrᵀ P̂_gτ'r‖²  +  λ_data ‖P̂_gτrᵀ P̂_gτr'‖²  +  λ_layer ‖corr(z_g, z_g')‖²

(means of squares over the off-diagonal blocks); w_r is 1 inside regime r, less outside. Named after
arXiv 2511.07110; the reading is ours.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.features.book_features import TASKS
from models.training import store
from models.training.layer_groups import Bounds
from models.training.metrics import ByAxis
from models.training.states import Shards
from models.training.train_config import OfddConfig, StudentConfig
from models.training.whiten import Whitener, groups_of

_GROUP_COMPONENTS = 64
_BATCH = 1024


class Windows(msgspec.Struct, frozen=True):
    """What the projections are learnt from.

    Attributes
    ----------
    states : ndarray (windows, groups, components)
        Whitened means of the layer groups.
    target : ndarray (windows, 3)
        Standardised.
    regime : ndarray (windows,)
        In 0 … regimes - 1.

    """

    states: NDArray[np.float32]
    target: NDArray[np.float32]
    regime: NDArray[np.int64]


class Cells(msgspec.Struct, frozen=True):
    """Fitted projections: cell features and forecasts of any window, standardised.

    Attributes
    ----------
    states : ndarray (windows, groups, components)
        A file mapped into memory.
    projection : Tensor (groups, tasks, regimes, components, k)
    readout, offset : Tensor (groups, tasks, regimes, k), (groups, tasks, regimes)
    mean, deviation : Tensor (students, k)
    overlap : ByAxis
        Mean squared overlap that is left along each axis.

    """

    states: NDArray[np.float32]
    projection: Tensor
    readout: Tensor
    offset: Tensor
    mean: Tensor
    deviation: Tensor
    overlap: ByAxis

    def feature(self, rows: Tensor) -> Tensor:
        """Cell features (rows, students, k), standardised."""
        return (_students(self._z(rows)) - self.mean) / self.deviation

    def forecast(self, rows: Tensor) -> Tensor:
        """What a cell's feature says of the outcome, (rows, students)."""
        return _students(((self._z(rows) * self.readout).sum(-1) + self.offset)[..., None])[..., 0]

    def _z(self, rows: Tensor) -> Tensor:
        return torch.einsum("ngd,gtrdk->ngtrk", torch.from_numpy(self.states[rows.numpy()]), self.projection)


def group_states(shards: Shards, bounds: Bounds, path: Path) -> NDArray[np.float32]:
    """Whitened group means of all windows, (windows, groups, components), on disk and mapped."""
    if not path.exists():
        view = groups_of(bounds)
        whitener = Whitener.fit(shards, view, _GROUP_COMPONENTS)
        rows = len(shards.small().ts_ns)
        shape = (rows, len(bounds), whitener.basis.shape[2])
        with store.beside(path) as temporary, temporary.open("wb") as handle:
            np.lib.format.write_array_header_2_0(handle, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for shard in shards:
                handle.write(whitener(view(shard)).tobytes())
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return mapped


def fit(seen: Windows, students: StudentConfig, strengths: ByAxis, config: OfddConfig) -> Cells:
    """Learn the projections.

    Parameters
    ----------
    seen : Windows
    students : StudentConfig
        Regimes, and the weight of windows outside a cell's regime.
    strengths : ByAxis
        λ.
    config : OfddConfig

    """
    states, regimes = seen.states, students.regimes
    windows, groups, width = states.shape
    generator = torch.Generator().manual_seed(config.seed)
    y, r = torch.from_numpy(seen.target), torch.from_numpy(seen.regime)
    shape, k = (groups, len(TASKS), regimes), config.components
    projection = nn.Parameter(torch.randn(*shape, width, k, generator=generator) / width**0.5)
    readout, offset = nn.Parameter(torch.zeros(*shape, k)), nn.Parameter(torch.zeros(shape))
    optimiser = torch.optim.AdamW([projection, readout, offset], lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps, 0.03 * config.learning_rate)
    overlap = ByAxis(0.0, 0.0, 0.0)
    for _ in range(config.steps):
        rows = torch.randint(0, windows, (min(_BATCH, windows),), generator=generator)
        h = torch.from_numpy(states[rows.numpy()])
        z = torch.einsum("ngd,gtrdk->ngtrk", h, projection)
        answer = (z * readout).sum(-1) + offset
        weight = torch.where(r[rows, None] == torch.arange(regimes), 1.0, students.outside_weight)
        weight = weight / weight.sum(0)
        error = (answer - y[rows][:, None, :, None]) ** 2
        penalties = _penalties(projection, z)
        loss = (error * weight[:, None, None, :]).sum(0).mean()
        for axis, penalty in penalties.items():
            loss = loss + getattr(strengths, axis) * penalty
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        overlap = ByAxis(**{axis: float(penalty.detach()) for axis, penalty in penalties.items()})
    parameters = projection.detach(), readout.detach(), offset.detach()
    blank = Cells(states, *parameters, torch.zeros(()), torch.ones(()), overlap)
    mean, deviation = _moments(blank)
    return Cells(states, *parameters, mean, deviation, overlap)


def _penalties(projection: Tensor, z: Tensor) -> dict[str, Tensor]:
    unit = projection / (projection.norm(dim=-2, keepdim=True) + 1e-6)
    centred = (z - z.mean(0)) / (z.std(0) + 1e-5)
    by_layer = centred.permute(2, 3, 1, 0, 4)  # (tasks, regimes, groups, windows, k)
    return {
        "task": _overlap(unit.permute(0, 2, 1, 3, 4)),
        "data": _overlap(unit),
        "layer": _overlap(by_layer / by_layer.shape[3] ** 0.5),
    }


def _overlap(blocks: Tensor) -> Tensor:
    """Mean squared inner product of columns of different blocks; blocks (…, n, d, k)."""
    n, d, k = blocks.shape[-3:]
    if n < 2:
        return torch.zeros(())
    columns = blocks.transpose(-3, -2).reshape(*blocks.shape[:-3], d, n * k)
    gram = columns.transpose(-1, -2) @ columns
    mask = torch.kron(1.0 - torch.eye(n), torch.ones(k, k))
    return (gram * mask).pow(2).mean() * (n / (n - 1))


def _moments(cells: Cells) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every cell's feature, (students, k), streamed."""
    count, sums, squares = 0, torch.zeros(()), torch.zeros(())
    for start in range(0, len(cells.states), 8192):
        rows = torch.arange(start, min(start + 8192, len(cells.states)))
        z = cells.feature(rows).double()
        count, sums, squares = count + len(rows), sums + z.sum(0), squares + (z * z).sum(0)
    mean = sums / count
    return mean.float(), (squares / count - mean**2).clamp(min=1e-10).sqrt().float()


def _students(cells: Tensor) -> Tensor:
    """(rows, groups, tasks, regimes, k) to (rows, students, k): task, then regime, then group."""
    return cells.permute(0, 2, 3, 1, 4).reshape(len(cells), -1, cells.shape[-1])

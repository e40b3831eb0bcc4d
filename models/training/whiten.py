"""Principal components of states, streamed: mean and covariance over shards, then whitened projections."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.layer_groups import Bounds
from models.training.states import Shard

_CLIP = 6.0

type View = Callable[[Shard], NDArray[np.float32]]
"""What of a shard is looked at: (windows, views, width)."""


class Whitener:
    """Per view, the first components of its covariance, each of unit variance.

    Attributes
    ----------
    mean : ndarray (views, width)
    basis : ndarray (views, width, components)

    """

    def __init__(self, mean: NDArray[np.float32], basis: NDArray[np.float32]) -> None:
        self.mean, self.basis = mean, basis

    @staticmethod
    def fit(shards: Iterable[Shard], view: View, components: int) -> Whitener:
        """Stream mean and covariance over the shards; signs are fixed, so that a result is one."""
        count = 0
        mean: NDArray[np.float64] | None = None
        square: NDArray[np.float64] | None = None
        for shard in shards:
            h = torch.from_numpy(view(shard)).transpose(0, 1)  # (views, windows, width)
            sums, gram = h.double().sum(1).numpy(), torch.bmm(h.transpose(1, 2), h).double().numpy()
            mean = sums if mean is None else mean + sums
            square = gram if square is None else square + gram
            count += h.shape[1]
        if mean is None or square is None:
            raise ValueError("nothing to whiten")
        mean /= count
        components = min(components, mean.shape[1], max(count - 1, 1))
        bases = []
        for m, s in zip(mean, square, strict=True):
            values, vectors = np.linalg.eigh(s / count - np.outer(m, m))
            top = np.argsort(values)[::-1][:components]
            vectors = vectors[:, top] * np.sign(vectors[np.abs(vectors[:, top]).argmax(0), top])  # signs are arbitrary
            floor = 1e-4 * max(float(values[top[0]]), 1e-12)  # components that never move stay small
            bases.append(vectors / np.sqrt(np.maximum(values[top], floor)))
        return Whitener(mean.astype(np.float32), np.stack(bases).astype(np.float32))

    def __call__(self, h: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (windows, views, width) to (windows, views, components)."""
        centred = torch.from_numpy(h - self.mean).transpose(0, 1)
        projected = torch.bmm(centred, torch.from_numpy(self.basis)).transpose(0, 1)
        return np.ascontiguousarray(projected.numpy().clip(-_CLIP, _CLIP))


def layers(shard: Shard) -> NDArray[np.float32]:
    """Every kept layer: (windows, layers, width)."""
    return shard.states.astype(np.float32)


def inputs(shard: Shard) -> NDArray[np.float32]:
    """The last patch itself: (windows, 1, inputs)."""
    return shard.inputs.astype(np.float32)[:, None]


def groups_of(bounds: Bounds) -> View:
    """Means over groups of layers, bounds inclusive: (windows, groups, width)."""

    def view(shard: Shard) -> NDArray[np.float32]:
        means = [shard.states[:, first : last + 1].astype(np.float32).mean(1) for first, last in bounds]
        return np.stack(means, 1)

    return view

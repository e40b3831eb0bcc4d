"""Cuts a model's layers into groups: evenly, or where their profiles change."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

type Bounds = list[tuple[int, int]]
"""First and last layer of each group, inclusive, as places among the kept layers."""


def thirds(layers: int, groups: int) -> Bounds:
    """`groups` even runs over the layers after the embedding (layer 0)."""
    if layers - 1 < groups:
        return [(0, layers - 1)] * groups
    edges = np.linspace(1, layers, groups + 1).round().astype(int)
    return [(int(a), int(b) - 1) for a, b in pairwise(edges)]


def segment(profiles: NDArray[np.float64], groups: int) -> Bounds:
    """Runs of layers within which the profiles (layers, cells) differ least (Fisher 1958).

    The embedding (layer 0) belongs to no group.
    """
    rows = profiles[1:]
    n = len(rows)
    if n < groups:
        return thirds(len(profiles), groups)

    def cost(i: int, j: int) -> float:
        run = rows[i:j]
        return float(((run - run.mean(0)) ** 2).sum())

    best = np.full((groups + 1, n + 1), np.inf)
    cut = np.zeros((groups + 1, n + 1), int)
    best[0, 0] = 0.0
    for g in range(1, groups + 1):
        for j in range(g, n + 1):
            options = [best[g - 1, i] + cost(i, j) for i in range(g - 1, j)]
            cut[g, j] = int(np.argmin(options)) + g - 1
            best[g, j] = min(options)
    bounds, j = [], n
    for g in range(groups, 0, -1):
        i = int(cut[g, j])
        bounds.append((i + 1, j))
        j = i
    return bounds[::-1]

"""Windows of snapshots for the teacher: consecutive rows of a dataset, made of what had arrived by t."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features.dataset import Dataset
from models.features.scaler import Scaler
from models.features.splits import Part

type Rows = NDArray[np.int64]


class Day(msgspec.Struct, frozen=True):
    """A day ready to be windowed: standardised features (rows, features), targets (rows, 3), ends of windows."""

    instrument: str
    ts_ns: NDArray[np.int64]
    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    regime: NDArray[np.int8]
    ends: Rows

    def windows(self, ends: Rows, length: int) -> NDArray[np.float32]:
        """Windows (ends, length, features) that end at those rows."""
        taken: NDArray[np.float32] = self.features[ends[:, None] + np.arange(1 - length, 1)]
        return taken


def ends_of(data: Dataset, length: int) -> Rows:
    """Rows before which `length` - 1 others lie without a break between."""
    if len(data) < length:
        return np.zeros(0, np.int64)
    broken = np.diff(data.ts_ns) > data.spec.max_gap_s * 1e9
    breaks = np.concatenate([[0], np.cumsum(broken)])
    ends = np.arange(length - 1, len(data))
    whole: Rows = ends[breaks[ends] == breaks[ends - length + 1]]
    return whole


def open_day(part: Part, scaler: Scaler, length: int) -> Day:
    data = part.load()
    instrument = data.sources[0].instrument
    return Day(instrument, data.ts_ns, scaler.features(data), scaler.targets(data), data.regime, ends_of(data, length))


def counts(parts: Sequence[Part], length: int) -> list[int]:
    """Windows in each part."""
    return [len(ends_of(part.load(), length)) for part in parts]


def shares(available: Sequence[int], budget: int) -> list[int]:
    """Windows to take of each part so that `budget` are spread evenly; 0 takes all."""
    total = sum(available)
    if not budget or total <= budget:
        return list(available)
    return [round(budget * count / total) for count in available]


def spread(ends: Rows, wanted: int, phase: float = 0.5) -> Rows:
    """`wanted` of the rows at even distances; `phase` in [0, 1) shifts them."""
    if wanted >= len(ends):
        return ends
    return ends[((np.arange(wanted) + phase) * (len(ends) / wanted)).astype(np.int64)]


def batches(
    parts: Sequence[Part], available: Sequence[int], scaler: Scaler, length: int, budget: int, size: int, group: int,
    seed: Sequence[int], skip: int = 0,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], list[str]]]:  # fmt: skip
    """One epoch of shuffled batches: windows (n, length, features), targets (n, 3), instruments.

    Days are shuffled and opened `group` at a time; the windows of a group are mixed. The order is a
    function of `seed` alone, so that a run which starts again at batch `skip` sees what it would have seen.
    """
    rng = np.random.default_rng(list(seed))
    wanted, phase = shares(available, budget), float(rng.random())
    order = rng.permutation(len(parts))
    for first in range(0, len(order), group):
        chosen = [int(i) for i in order[first : first + group]]
        total = sum(min(wanted[i], available[i]) for i in chosen)
        places = rng.permutation(total)
        steps = -(-total // size)
        if skip >= steps:
            skip -= steps
            continue
        days = [open_day(parts[i], scaler, length) for i in chosen]
        picks = [
            (k, row) for k, i in enumerate(chosen) for row in spread(days[k].ends, min(wanted[i], available[i]), phase)
        ]
        for step in range(skip, steps):
            batch = [picks[place] for place in places[step * size : (step + 1) * size]]
            windows = np.concatenate([days[k].windows(np.array([row]), length) for k, row in batch])
            targets = np.stack([days[k].targets[row] for k, row in batch])
            yield windows, targets, [days[k].instrument for k, _ in batch]
        skip = 0


def steps_per_epoch(available: Sequence[int], budget: int, size: int, group: int, seed: Sequence[int]) -> int:
    """Batches that `batches` yields; depends on the order of days, since groups end with a short batch."""
    rng = np.random.default_rng(list(seed))
    wanted = shares(available, budget)
    rng.random()
    order = rng.permutation(len(available))
    total = 0
    for first in range(0, len(order), group):
        windows = sum(min(wanted[int(i)], available[int(i)]) for i in order[first : first + group])
        total += -(-windows // size)
    return total

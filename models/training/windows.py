"""Windows of snapshots for the teacher: consecutive rows of a dataset, made of what had arrived by t."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
    """Load and standardise a part."""
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


class Epoch(msgspec.Struct, frozen=True):
    """How an epoch is made up.

    Attributes
    ----------
    length : int
        Snapshots of a window.
    budget : int
        Windows of the epoch, 0 for all.
    size : int
        Windows of a batch.
    group : int
        Days that are open at a time and mixed.
    seed : tuple[int, int]
        Of the training and of the epoch; the order is a function of it alone.

    """

    length: int
    budget: int
    size: int
    group: int
    seed: tuple[int, int]

    def steps(self, available: Sequence[int]) -> int:
        """Batches of the epoch; depends on the order of days, since groups end with a short batch."""
        rng = np.random.default_rng(list(self.seed))
        wanted = shares(available, self.budget)
        rng.random()
        order = rng.permutation(len(available))
        total = 0
        for first in range(0, len(order), self.group):
            windows = sum(min(wanted[int(i)], available[int(i)]) for i in order[first : first + self.group])
            total += -(-windows // self.size)
        return total


class Batch(NamedTuple):
    """Windows (n, length, features), targets (n, 3) and instruments."""

    windows: NDArray[np.float32]
    targets: NDArray[np.float32]
    instruments: list[str]

    def rows(self, taken: slice) -> Batch:
        """Some of it."""
        return Batch(*(column[taken] for column in self))  # type: ignore[arg-type]


def batches(
    parts: Sequence[Part], available: Sequence[int], scaler: Scaler, epoch: Epoch, skip: int = 0
) -> Iterator[Batch]:
    """One epoch of shuffled batches.

    Days are shuffled and opened a group at a time; the windows of a group are mixed. A run that starts again at batch
    `skip` sees what it would have seen.
    """
    rng = np.random.default_rng(list(epoch.seed))
    wanted, phase = shares(available, epoch.budget), float(rng.random())
    order = rng.permutation(len(parts))
    for first in range(0, len(order), epoch.group):
        chosen = [int(i) for i in order[first : first + epoch.group]]
        total = sum(min(wanted[i], available[i]) for i in chosen)
        places = rng.permutation(total)
        steps = -(-total // epoch.size)
        if skip >= steps:
            skip -= steps
            continue
        days = [open_day(parts[i], scaler, epoch.length) for i in chosen]
        picks = [
            (k, row) for k, i in enumerate(chosen) for row in spread(days[k].ends, min(wanted[i], available[i]), phase)
        ]
        for step in range(skip, steps):
            batch = [picks[place] for place in places[step * epoch.size : (step + 1) * epoch.size]]
            windows = np.concatenate([days[k].windows(np.array([row]), epoch.length) for k, row in batch])
            targets = np.stack([days[k].targets[row] for k, row in batch])
            yield Batch(windows, targets, [days[k].instrument for k, _ in batch])
        skip = 0

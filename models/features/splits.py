"""Spans of time that training keeps apart: one global clock over all instruments, purged at the seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from models.errors import ModelError
from models.features import dataset
from models.features.dataset import Dataset, DatasetHeader

_SHARES = (0.15, 0.2, 0.15)  # of the training span, for valid, calibrate and test where they are not given
_FOREVER = 2**62


class Part(msgspec.Struct, frozen=True):
    """The rows of one dataset file (a day of an instrument) with `start_ns` ≤ t < `stop_ns`."""

    path: Path
    start_ns: int = 0
    stop_ns: int = _FOREVER

    def load(self) -> Dataset:
        """Its rows, in order of time."""
        data = dataset.load([self.path])
        return data.rows((data.ts_ns >= self.start_ns) & (data.ts_ns < self.stop_ns))

    @property
    def identity(self) -> tuple[str, str, str, int, int]:
        """What the rows are, wherever the file lies."""
        header = dataset.read_header(self.path)
        return header.instrument, header.date, header.source_sha256, self.start_ns, self.stop_ns


class Splits(msgspec.Struct, frozen=True):
    """Train teaches, valid chooses (epochs, λ_kd, the probe), calibrate fits the fusion, test is reported."""

    train: list[Part]
    valid: list[Part]
    calibrate: list[Part]
    test: list[Part]

    def named(self) -> Iterator[tuple[str, list[Part]]]:
        """Names and parts, in order of time."""
        yield from (
            ("train", self.train),
            ("valid", self.valid),
            ("calibrate", self.calibrate),
            ("test", self.test),
        )

    def headers(self) -> dict[str, list[DatasetHeader]]:
        """Where each split's rows came from, by its name."""
        return {name: [dataset.read_header(part.path) for part in parts] for name, parts in self.named()}


def load(parts: Sequence[Part]) -> Dataset:
    """All rows of the parts, in order of time."""
    data = dataset.load([part.path for part in parts])
    starts = np.array([part.start_ns for part in parts])
    stops = np.array([part.stop_ns for part in parts])
    return data.rows((data.ts_ns >= starts[data.source]) & (data.ts_ns < stops[data.source]))


def make(
    train: Sequence[Path],
    valid: Sequence[Path],
    calibrate: Sequence[Path],
    test: Sequence[Path],
    window: int,
) -> Splits:
    """Splits of whole days; what is not given is cut off the end of the training span.

    Parameters
    ----------
    train, valid, calibrate, test : sequence of Path
        Dataset files; each later split must begin after the one before ended. Without `valid` or
        `calibrate` parts of the training span serve; `test` is cut off it only if nothing else is given.
    window : int
        Rows of a teacher's window: the seams are purged by the window and the horizon.

    Raises
    ------
    ModelError
        Splits that overlap or are out of order, files that are no datasets.

    """
    named = {"--train": train, "--valid": valid, "--calibrate": calibrate, "--test": test}
    spans = {option: _span(paths) for option, paths in named.items() if paths}
    order = list(spans)
    for earlier, later in pairwise(order):
        if spans[later][0] <= spans[earlier][1]:
            raise ModelError(f"the days of {later} begin before those of {earlier} end; give later days to {later}")
    given = [valid, calibrate, test] if len(order) > 1 else [[], [], []]
    carved = [i for i in range(3 if len(order) == 1 else 2) if not given[i]]
    pieces = _divide(train, [_SHARES[i] for i in carved], window)
    splits = [[Part(path) for path in paths] for paths in given]
    for i, piece in zip(carved, pieces[1:], strict=True):
        splits[i] = piece
    return Splits(pieces[0], *splits)


def _divide(paths: Sequence[Path], shares: Sequence[float], window: int) -> list[list[Part]]:
    """Training span and later pieces of these shares, in order of time, purged at the seams."""
    if not shares:
        return [[Part(path) for path in paths]]
    starts = 1.0 - np.cumsum(shares[::-1])[::-1]
    cuts = [_quantile(paths, float(start)) for start in starts]
    purge = _purge_ns(paths, window)
    edges = [0, *cuts, _FOREVER]
    stops = [cut - purge for cut in cuts] + [_FOREVER]
    return [_parts(paths, start, stop) for start, stop in zip(edges[:-1], stops, strict=True)]


def _parts(paths: Sequence[Path], start: int, stop: int) -> list[Part]:
    """Parts of the files that hold rows of a span."""
    kept = []
    for path in paths:
        first, last = _span([path])
        if first < stop and last >= start:
            kept.append(Part(path, start, stop))
    if not kept:
        raise ModelError(f"{paths[0].parent}: too little data to divide in time; give more days")
    return kept


def _times(path: Path) -> np.ndarray:
    dataset.read_header(path)
    times: np.ndarray = pq.read_table(path, columns=["ts_ns"])["ts_ns"].to_numpy()
    if not len(times):
        raise ModelError(f"{path}: the dataset holds no samples; the recording is shorter than warm-up and horizon")
    return times


def _span(paths: Sequence[Path]) -> tuple[int, int]:
    ends = [(times[0], times[-1]) for times in map(_times, paths)]
    return int(min(first for first, _ in ends)), int(max(last for _, last in ends))


def _quantile(paths: Sequence[Path], share: float) -> int:
    """Time before which this share of all rows lies."""
    times = np.sort(np.concatenate([_times(path) for path in paths]))
    return int(times[min(int(share * len(times)), len(times) - 1)])


def _purge_ns(paths: Sequence[Path], window: int) -> int:
    """Horizon and window, so that no sample's window or outcome reaches over a seam."""
    header = dataset.read_header(paths[0])
    step = float(np.median(np.diff(_times(paths[0])))) if len(_times(paths[0])) > 1 else 0.0
    return round(header.spec.horizon_s * 1e9 + window * step)

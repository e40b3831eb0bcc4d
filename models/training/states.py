"""What the teacher's layers hold for each window: extracted once, kept on disk in shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.errors import ModelError
from models.features.scaler import Scaler
from models.features.splits import Part
from models.training import store, windows
from models.training.context import Report
from models.training.teacher import forecast
from models.training.train_config import TeacherConfig

_SHARD = 1024


class Shard(msgspec.Struct, frozen=True):
    """Up to 1,024 windows of one part, in order of time.

    Attributes
    ----------
    part : ndarray (windows,) int32
        Which of the split's parts the window belongs to.
    ts_ns : ndarray (windows,) int64
    regime : ndarray (windows,) int8
    target, forecast : ndarray (windows, 3) float32
        Standardised outcomes and the teacher's forecasts of them.
    inputs : ndarray (windows, inputs) float16
        The last patch as the embedder sees it; empty where states were not asked for.
    states : ndarray (windows, layers, width) float16
        RMS-normalised states of the last token; empty where they were not asked for.

    """

    part: NDArray[np.int32]
    ts_ns: NDArray[np.int64]
    regime: NDArray[np.int8]
    target: NDArray[np.float32]
    forecast: NDArray[np.float32]
    inputs: NDArray[np.float16]
    states: NDArray[np.float16]


class Shards:
    """A finished extraction; iterating reads one shard at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        if not files:
            raise ModelError("no window of the teacher's length lies in this span; give more data")
        self.files = list(files)

    def __iter__(self) -> Iterator[Shard]:
        for file in self.files:
            arrays = store.read_arrays(file)
            yield Shard(**{name: arrays[name] for name in Shard.__struct_fields__})  # type: ignore[arg-type]

    def small(self) -> Shard:
        """All windows without inputs and states."""
        columns: dict[str, list[NDArray[np.generic]]] = {}
        for file in self.files:
            arrays = store.read_arrays(file)
            for name in Shard.__struct_fields__[:5]:
                columns.setdefault(name, []).append(arrays[name])
        joined = {name: np.concatenate(values) for name, values in columns.items()}
        none = np.zeros((len(joined["ts_ns"]), 0), np.float16)
        return Shard(**joined, inputs=none, states=none[:, :, None])


class Extraction(msgspec.Struct, frozen=True):
    """What is to be run through the teacher, and where it is kept.

    Attributes
    ----------
    parts : sequence of Part
    budget : int
        Windows, spread evenly over the parts; 0 takes all.
    keep_states : bool
        Keep inputs and states besides the forecasts.
    folder : Path

    """

    parts: Sequence[Part]
    budget: int
    keep_states: bool
    folder: Path


def extract(
    model: Callable[[], nn.Module], config: TeacherConfig, scaler: Scaler, extraction: Extraction, report: Report
) -> Shards:
    """Run windows through the teacher.

    Shards that are there are left as they are, so a killed extraction goes on; `model` is called only
    if one is missing. One day and one shard are in memory at a time.
    """
    parts, folder, keep_states = extraction.parts, extraction.folder, extraction.keep_states
    listing = folder / "shards.json"
    if listing.exists():
        return Shards([folder / name for name in store.read_json(listing, list[str])])
    available = windows.counts(parts, config.window)
    wanted = windows.shares(available, extraction.budget)
    names: list[str] = []
    teacher: nn.Module | None = None
    total, done = sum(map(min, wanted, available)), 0
    for i, part in enumerate(parts):
        if not min(wanted[i], available[i]):
            continue
        day = windows.open_day(part, scaler, config.window)
        ends = windows.spread(day.ends, min(wanted[i], available[i]))
        for k, start in enumerate(range(0, len(ends), _SHARD)):
            rows = ends[start : start + _SHARD]
            name = f"{i:04d}-{k:05d}.safetensors"
            names.append(name)
            done += len(rows)
            if (folder / name).exists():
                continue
            teacher = teacher if teacher is not None else model()
            x = day.windows(rows, config.window)
            answers, states = forecast(teacher, x, [day.instrument] * len(rows), config, states=keep_states)
            last = x[:, -config.patch :].reshape(len(x), -1) if keep_states else np.zeros((len(x), 0))
            store.write_arrays(
                folder / name,
                {
                    "part": np.full(len(rows), i, np.int32),
                    "ts_ns": day.ts_ns[rows],
                    "regime": day.regime[rows],
                    "target": day.targets[rows],
                    "forecast": answers,
                    "inputs": last.astype(np.float16),
                    "states": states if states is not None else np.zeros((len(rows), 0, 0), np.float16),
                },
            )
            report(f"states: {done:,} of {total:,} windows")
    store.write_json(listing, names)
    return Shards([folder / name for name in names])

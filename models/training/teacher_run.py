"""Stage one: teach the teacher and keep its forecasts and states of the splits' windows, or find them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features.dataset import Dataset
from models.training import store, teacher_training
from models.training.backbone import BACKBONES, find
from models.training.context import Context
from models.training.states import Extraction, Shard, Shards, extract
from models.training.teacher_training import TeacherData
from models.training.train_config import TeacherConfig

_WITHOUT_WEIGHT = ("states", "held_out", "layers", "checkpoint_every")


class TeacherRun(msgspec.Struct, frozen=True):
    """What the teacher left behind.

    Attributes
    ----------
    train, valid, test : Shards
        Of each split's windows; `test` is None where there is no test split.
    place : ndarray (training rows,) int64
        Place of each training row among the windows of `train`, -1 where none ends at it.
    folder : Path
        Where it lies, and what is made of it.

    """

    train: Shards
    valid: Shards
    test: Shards | None
    place: NDArray[np.int64]
    folder: Path


def run_teacher(context: Context, *, keep_states: bool) -> TeacherRun:
    """Teach the teacher and run the splits' windows through it.

    Parameters
    ----------
    context : Context
    keep_states : bool
        Of training and validation windows, besides the forecasts.

    """
    job, data, scaler = context.job, context.data, context.scaler
    config, parts = job.config.teacher, job.splits
    if config.backbone != "none":
        find(config.model, job.cache / BACKBONES)  # a wrong name is told before the work begins
    datasets = [part for part in (data.train, data.valid, data.calibrate, data.test) if part is not None]
    names = sorted({source.instrument for dataset in datasets for source in dataset.sources})
    folder = job.cache / store.key("teacher", weighing(config), names, [p.identity for p in parts.train])
    seen = TeacherData(parts.train, scaler, names, data.train.spec.horizon_s)
    model = cache(lambda: teacher_training.train(config, seen, folder, context.report))
    budget = {"train": config.states, "valid": config.held_out, "test": config.held_out}
    found: dict[str, Shards] = {}
    for name, chosen in (("train", parts.train), ("valid", parts.valid), ("test", parts.test)):
        if chosen:
            keep = keep_states and name != "test"
            key = store.key(name, budget[name], config.layers, [p.identity for p in chosen])
            extraction = Extraction(chosen, budget[name], keep, folder / (key if keep else f"{key}-forecasts"))
            found[name] = extract(model, config, scaler, extraction, context.report)
    return TeacherRun(
        found["train"], found["valid"], found.get("test"), places(data.train, found["train"].small()), folder
    )


def weighing(config: TeacherConfig) -> dict[str, object]:
    """The settings on which the teacher's weights depend."""
    known: dict[str, object] = msgspec.to_builtins(config)
    return {name: value for name, value in known.items() if name not in _WITHOUT_WEIGHT}


def places(data: Dataset, windows: Shard) -> NDArray[np.int64]:
    """For each row of the data its place among the windows, else -1."""
    place = np.full(len(data), -1, np.int64)
    for part in np.unique(windows.part):
        rows, seen = np.flatnonzero(data.source == part), np.flatnonzero(windows.part == part)
        place[rows[np.searchsorted(data.ts_ns[rows], windows.ts_ns[seen])]] = seen
    return place

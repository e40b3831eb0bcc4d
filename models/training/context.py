"""What a training works on: its settings, the data of its splits, and the scaler fitted on the first of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from models.features import checks, splits
from models.features.dataset import Dataset
from models.features.scaler import Scaler
from models.features.splits import Splits
from models.training.train_config import Kind, TrainConfig

type Report = Callable[[str], None]
"""Takes a line about how far the work has got."""


class Job(msgspec.Struct, frozen=True):
    """One training.

    Attributes
    ----------
    kind : Kind
    config : TrainConfig
    splits : Splits
    cache : Path
        Folder for the teacher, its states and what is made of them, found again by what they were made of.
    name : str
        Of the artifact.

    """

    kind: Kind
    config: TrainConfig
    splits: Splits
    cache: Path
    name: str


class Data(msgspec.Struct, frozen=True):
    """The splits' rows in memory."""

    train: Dataset
    valid: Dataset
    calibrate: Dataset
    test: Dataset | None

    @property
    def reported_on(self) -> str:
        """Name of the split on which everything is judged."""
        return "test" if self.test is not None else "valid"

    @property
    def reported(self) -> Dataset:
        """That split's rows."""
        return self.test if self.test is not None else self.valid


class Context(msgspec.Struct, frozen=True):
    """Handed from stage to stage."""

    job: Job
    data: Data
    scaler: Scaler
    report: Report

    @property
    def config(self) -> TrainConfig:
        """The job's settings."""
        return self.job.config

    @staticmethod
    def open(job: Job, report: Report) -> Context:
        """Load and check the data; make what follows a function of seeds alone.

        Raises
        ------
        ModelError
            Data that cannot be learnt from.

        """
        torch.set_num_threads(job.config.threads)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or a GPU is not deterministic
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        parts = job.splits
        data = Data(
            splits.load(parts.train),
            splits.load(parts.valid),
            splits.load(parts.calibrate),
            splits.load(parts.test) if parts.test else None,
        )
        checks.check(data.train, job.config.students.regimes, job.config.leak_limit)
        return Context(job, data, Scaler.fit(part.load() for part in parts.train), report)

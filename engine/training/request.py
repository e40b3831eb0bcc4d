"""What somebody asks to be trained."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be trained.

    Parameters
    ----------
    out : Path
        Folder of the artifact.
    teacher : str, optional
        A language model, or a control: labels, one-student, kd, fitnets, random, no-body.
    instruments : list[str]
    dates : dict
        By split: train, valid, calibrate, test.
    folds : int
        More than one walks forward over the train days; the last fold ships.
    quick : bool
        The whole chain on a simulated market, with few windows.

    """

    out: Path
    teacher: str | None = None
    instruments: list[str] = []
    dates: dict[str, str | None] = {}
    folds: int = 1
    quick: bool = False

"""Settings of online recalibration; apart from it, so that reading a configuration loads no scipy."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class RecalibrateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of online recalibration.

    Parameters
    ----------
    enabled : bool
    half_life_s : float
        Time of market, not of clock, after which a sample counts half.
    sample_s : float
        Least time between samples.
    every_s : float
        Time between refits.
    prior : float
        Weight that the calibration split keeps for ever, in shares of the rolling window's.
    state : str or None
        File to go on from; null starts from the artifact.

    """

    enabled: bool = False
    half_life_s: Annotated[float, Meta(gt=0)] = 3600.0
    sample_s: Annotated[float, Meta(gt=0)] = 0.5
    every_s: Annotated[float, Meta(gt=0)] = 60.0
    prior: Annotated[float, Meta(ge=0)] = 0.25
    state: str | None = None

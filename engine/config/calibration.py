"""How queue models are held against true queues."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from market.errors import refuse_former


class CalibrateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hypothetical orders for calibrating queue models.

    Parameters
    ----------
    orders : int
        A day.
    horizon_s : float
        How long each one rests.
    levels : int
        It joins one of that many best levels of a side.
    markout_s : float
        When a fill is marked against the mid.
    fit_share : float
        The first part of the time is fitted on, the rest held back.
    block_s : float
        Blocks of time that are resampled for the intervals.
    draws : int
        Resamplings.
    seed : int

    """

    orders: Annotated[int, Meta(ge=100)] = 6000
    horizon_s: Annotated[float, Meta(gt=0)] = 60.0
    levels: Annotated[int, Meta(ge=1)] = 3
    markout_s: Annotated[float, Meta(gt=0)] = 10.0
    fit_share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    block_s: Annotated[float, Meta(gt=0)] = 120.0
    draws: Annotated[int, Meta(ge=20)] = 200
    seed: int = 17
    phantoms: int | UnsetType = UNSET
    """Former name of `orders`; refused."""

    def __post_init__(self) -> None:
        refuse_former("phantoms", self.phantoms, "orders")

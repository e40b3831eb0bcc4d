"""Where recordings and results lie, and how datasets are sampled."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class DataConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where recordings are kept, tables of contract terms besides the built-in one, and what forecasts may take.

    Parameters
    ----------
    path : str
    contracts : list[str]
    forecasts_gb : float
        Features and forecasts of recorded days that are kept on disk, 10⁹ bytes; 0 keeps none.

    """

    path: str = "data"
    contracts: list[str] = []
    forecasts_gb: Annotated[float, Meta(ge=0)] = 5.0


class RunsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where results go."""

    path: str = "runs"


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Datasets: samples are at least this far apart."""

    min_interval_ms: Annotated[float, Meta(ge=0)] = 100.0

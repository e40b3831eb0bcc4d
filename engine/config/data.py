"""Where recordings and results lie, and how datasets are sampled."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class DataConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where recordings are kept, and tables of contract terms besides the built-in one."""

    path: str = "data"
    contracts: list[str] = []


class RunsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where results go."""

    path: str = "runs"


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Datasets: samples are at least this far apart."""

    min_interval_ms: Annotated[float, Meta(ge=0)] = 100.0

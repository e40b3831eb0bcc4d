"""What trades: the artifact that forecasts, quoter, ladder and differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from models.ensemble.drift import DriftConfig
from models.ensemble.recalibrate_config import RecalibrateConfig
from strategies.differ import DifferConfig
from strategies.ladder import LadderConfig
from strategies.quoters import CmmConfig, IntensityConfig, OffsetConfig

SHIPPED = Path(__file__).parents[2] / "models" / "artifacts" / "sim-smollm2"
"""The artifact that comes with the program."""

QUOTERS = ("cmm", "foic", "liic", "ltiic", "as", "glft")
type QuoterName = Annotated[
    str, Meta(pattern=rf"^({'|'.join(QUOTERS)}|.+\.py:[^\W\d]\w*)$", examples=[*QUOTERS, "FILE.py:NAME"])
]
"""One of ours, or one in a file, see `strategies.own_quoter`."""


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which artifact forecasts; null takes the newest one fitted to the instrument before the
    backtest's first day, else the shipped one. Whether its fusion is recalibrated while it runs, and when a
    trader raises the alarm that it no longer fits."""

    artifact: str | None = None
    recalibrate: RecalibrateConfig = RecalibrateConfig()
    drift: DriftConfig = DriftConfig()


class StrategyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quoter, ladder and differ."""

    quoter: QuoterName = "cmm"
    ladder: LadderConfig = LadderConfig()
    differ: DifferConfig = DifferConfig()
    cmm: CmmConfig = CmmConfig()
    offset: OffsetConfig = OffsetConfig()
    intensity: IntensityConfig = IntensityConfig()
    stop_before_close_s: Annotated[float, Meta(ge=0)] = 10.0

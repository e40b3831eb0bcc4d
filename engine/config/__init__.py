"""`config.yaml`: the one place that says what to run, decoded strictly."""

from engine.config.calibration import CalibrateConfig
from engine.config.capture import CaptureConfig
from engine.config.data import DataConfig, RecordConfig, RunsConfig
from engine.config.live import FlattenConfig, LiveConfig, MonitorConfig, PaperConfig
from engine.config.loading import apply, examples_of, load, override, problem_of, type_of
from engine.config.sections import Config
from engine.config.simulation import BacktestConfig, VenueConfig
from engine.config.trading import QUOTERS, SHIPPED, ModelConfig, QuoterName, StrategyConfig

__all__ = [
    "QUOTERS",
    "SHIPPED",
    "BacktestConfig",
    "CalibrateConfig",
    "CaptureConfig",
    "Config",
    "DataConfig",
    "FlattenConfig",
    "LiveConfig",
    "ModelConfig",
    "MonitorConfig",
    "PaperConfig",
    "QuoterName",
    "RecordConfig",
    "RunsConfig",
    "StrategyConfig",
    "VenueConfig",
    "apply",
    "examples_of",
    "load",
    "override",
    "problem_of",
    "type_of",
]

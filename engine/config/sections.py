"""All sections as one."""

from __future__ import annotations

import hashlib

import msgspec

from engine.config.calibration import CalibrateConfig
from engine.config.capture import CaptureConfig
from engine.config.data import DataConfig, RecordConfig, RunsConfig
from engine.config.live import LiveConfig, MonitorConfig, PaperConfig
from engine.config.simulation import BacktestConfig, VenueConfig
from engine.config.trading import ModelConfig, StrategyConfig
from models.features.book_features import FeatureSpec
from models.training.train_config import TrainConfig
from strategies.guard import GuardConfig
from strategies.limits import LimitsConfig
from venues.live.adapters_config import AdaptersConfig
from venues.recordings.verdict import VerdictConfig
from venues.simulation.fees import FeesConfig


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    data: DataConfig = DataConfig()
    runs: RunsConfig = RunsConfig()
    features: FeatureSpec = FeatureSpec()
    record: RecordConfig = RecordConfig()
    train: TrainConfig = TrainConfig()
    model: ModelConfig = ModelConfig()
    strategy: StrategyConfig = StrategyConfig()
    limits: LimitsConfig = LimitsConfig()
    guard: GuardConfig = GuardConfig()
    venue: VenueConfig = VenueConfig()
    fees: FeesConfig = FeesConfig()
    backtest: BacktestConfig = BacktestConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    inspect: VerdictConfig = VerdictConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    capture: CaptureConfig = CaptureConfig()
    paper: PaperConfig = PaperConfig()
    live: LiveConfig = LiveConfig()
    monitor: MonitorConfig = MonitorConfig()

    @property
    def hash(self) -> str:
        """Identity of the resolved configuration, 8 hex digits."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]

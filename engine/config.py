"""`config.yaml`: the one place that says what to run, decoded strictly."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from models.features import FeatureSpec
from models.recalibrate_config import RecalibrateConfig
from models.train_config import TrainConfig
from strategies.differ import DifferConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.quoters import CmmConfig, IntensityConfig, OffsetConfig

SHIPPED = Path(__file__).parent.parent / "models" / "artifacts" / "sim-smollm2"

type QuoterName = Literal["cmm", "foic", "liic", "ltiic", "as", "glft"]
type FeeScenario = Literal["exchange", "zero", "rebate"]


class ConfigError(Exception):
    """A configuration that cannot be used; its text is one sentence a user can act on."""


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


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which artifact forecasts; null takes the newest one fitted to the instrument before the
    backtest's first day, else the shipped one. And whether its fusion is recalibrated while it runs."""

    artifact: str | None = None
    recalibrate: RecalibrateConfig = RecalibrateConfig()


class StrategyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quoter, ladder and differ."""

    quoter: QuoterName = "cmm"
    ladder: LadderConfig = LadderConfig()
    differ: DifferConfig = DifferConfig()
    cmm: CmmConfig = CmmConfig()
    offset: OffsetConfig = OffsetConfig()
    intensity: IntensityConfig = IntensityConfig()
    stop_before_close_s: Annotated[float, Meta(ge=0)] = 10.0


class VenueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The simulated venue: order latency (placing, amending and cancelling alike), money at the start."""

    order_latency_ms: Annotated[float, Meta(ge=0)] = 2.0
    starting_balance: Annotated[float, Meta(gt=0)] = 100_000_000.0


class FeesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which fees are charged: the contract table's, none, or a maker rebate (fraction of turnover)."""

    scenario: FeeScenario = "exchange"
    rebate: Annotated[float, Meta(ge=0)] = 0.00002


class BacktestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Data points in memory at a time; whether CMM, whose quotes depend on fees, is traded at the other
    fee settings too."""

    chunk_size: Annotated[int, Meta(ge=1000)] = 200_000
    other_fees: bool = True


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
    venue: VenueConfig = VenueConfig()
    fees: FeesConfig = FeesConfig()
    backtest: BacktestConfig = BacktestConfig()

    @property
    def hash(self) -> str:
        """Identity of the resolved configuration, 8 hex digits."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats: `1e-4` is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def load(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply overrides of the form `key.key=value`.

    Without a path, `config.yaml` of the current folder is read if there is one.

    Raises
    ------
    ConfigError
        Unknown key, wrong type or impossible value, with file and key.

    """
    source = path or Path("config.yaml")
    tree: Any = {}
    if path is not None or source.exists():
        try:
            tree = yaml.load(source.read_text(), _Loader) or {}
        except OSError as error:
            raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
        if not isinstance(tree, dict):
            raise ConfigError(f"{source}: expected keys and values at the top")
    _decode(tree, str(source))
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text}: expected key=value, e.g. --set strategy.ladder.levels=5")
        _assign(tree, key.split("."), yaml.load(value, _Loader), text)
        _decode(tree, f"--set {text}")
    return _decode(tree, str(source))


def _decode(tree: Any, source: str) -> Config:
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = where.strip("`").lstrip(".") or "top"
        raise ConfigError(f"{source}: key {key}: {message[0].lower()}{message[1:]}") from error


def _assign(tree: dict[str, Any], keys: list[str], value: Any, text: str) -> None:
    for key in keys[:-1]:
        child = tree.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {text}: {key} is not a group of keys")
        tree = child
    tree[keys[-1]] = value


def parse_dates(text: str, option: str) -> list[dt.date] | tuple[dt.date, dt.date]:
    """Read `2021-01-08,2021-01-11` as a list or `2021-01-04..2021-01-07` as a (first, last) span."""
    try:
        if ".." in text:
            first, _, last = text.partition("..")
            span = dt.date.fromisoformat(first.strip()), dt.date.fromisoformat(last.strip())
            if span[0] > span[1]:
                raise ConfigError(f"{option} {text}: the first date is after the last")
            return span
        return sorted({dt.date.fromisoformat(part.strip()) for part in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"{option} {text}: expected YYYY-MM-DD, a list a,b or a span a..b") from error

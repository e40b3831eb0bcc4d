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

from models.drift import DriftConfig
from models.features import FeatureSpec
from models.recalibrate_config import RecalibrateConfig
from models.train_config import TrainConfig
from strategies.differ import DifferConfig
from strategies.guard import GuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.quoters import CmmConfig, IntensityConfig, OffsetConfig
from venues.adapters_config import AdaptersConfig
from venues.verdict import VerdictConfig

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


class DelayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One leg of latency.

    Parameters
    ----------
    kind : str
        `constant` (ms), `quantiles` (drawn from quantiles_ms), `series` (file: a CSV of ts_ns, ms),
        `measured` (file: a backtest's run folder, whose decision times are drawn from) or `recorded`
        (the feed's own: arrival minus exchange time in the recording).
    ms : float
    quantiles_ms : list[float]
        At evenly spaced probabilities from 0 to 1, rising.
    file : str, optional

    """

    kind: Literal["constant", "quantiles", "series", "measured", "recorded"] = "constant"
    ms: Annotated[float, Meta(ge=0)] = 0.0
    quantiles_ms: list[Annotated[float, Meta(ge=0)]] = []
    file: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "quantiles" and (
            len(self.quantiles_ms) < 2 or sorted(self.quantiles_ms) != list(self.quantiles_ms)
        ):
            raise ValueError("kind quantiles needs quantiles_ms: two or more rising latencies")
        if self.kind in ("series", "measured") and self.file is None:
            raise ValueError(f"kind {self.kind} needs file: a CSV of ts_ns, ms, or a backtest's run folder")


class LatencyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command's way: our decision, the order to the venue, and the feed by which the recording lags it."""

    decision: DelayConfig = DelayConfig(ms=0.1)
    order: DelayConfig = DelayConfig(ms=2.0)
    feed: DelayConfig = DelayConfig()
    seed: int = 5


class QueueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where our orders stand in their queues.

    Parameters
    ----------
    model : str
        `calibrated` (as `cmm calibrate` fitted it to this instrument on earlier days, else as shipped),
        `pessimistic`, `optimistic`, `proportional`, `power` (n, bias), `fifo` (recordings that name
        orders) or `nautilus` (NautilusTrader's own).
    n, bias : float
        Of `power`.
    file : str, optional
        A calibration to use, instead of the one found.

    """

    model: Literal["calibrated", "pessimistic", "optimistic", "proportional", "power", "fifo", "nautilus"] = (
        "calibrated"
    )
    n: float = 1.0
    bias: float = 0.0
    file: str | None = None


class VenueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The simulated venue: queues, latency, money at the start."""

    queue: QueueConfig = QueueConfig()
    latency: LatencyConfig = LatencyConfig()
    starting_balance: Annotated[float, Meta(gt=0)] = 100_000_000.0


class FeesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which fees are charged.

    Parameters
    ----------
    scenario : str
        The contract table's, none, or a maker rebate.
    rebate : float
        Of the rebate scenario, fraction of turnover.
    lock : bool
        Where an exchange keeps long and short apart: open the other way instead of closing, where that
        is cheaper, both legs' later closing included.
    turnover : float
        What counts towards the volume tier before the first fill (settlement currency).

    """

    scenario: FeeScenario = "exchange"
    rebate: Annotated[float, Meta(ge=0)] = 0.00002
    lock: bool = False
    turnover: Annotated[float, Meta(ge=0)] = 0.0


class BacktestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table of assumptions in the report.

    Parameters
    ----------
    sensitivity : str
        `full`: traded anew under each queue model, latency and fee setting; `quick`: under each queue
        model and latency, fees priced on the same fills; `none`: other fees on the same fills only.
    latency_low_ms, latency_high_ms : float
        A command's way to the venue, against the one configured.

    """

    sensitivity: Literal["full", "quick", "none"] = "full"
    latency_low_ms: Annotated[float, Meta(ge=0)] = 0.5
    latency_high_ms: Annotated[float, Meta(ge=0)] = 100.0


class PaperConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Paper trading on live data: how long, 0 for until it is stopped; and how a replay's decisions are kept."""

    minutes: Annotated[float, Meta(ge=0)] = 0.0
    journal: bool = True


class FlattenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """After a halt: close the position by an immediate-or-cancel order at most this far beyond the touch."""

    enabled: bool = False
    max_loss_bps: Annotated[float, Meta(gt=0)] = 20.0


class LiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Live trading. Keys come from the environment: CMM_<VENUE>_KEY and CMM_<VENUE>_SECRET.

    Parameters
    ----------
    armed : bool
        Nothing is sent to a venue without it.
    venue, environment : str
    base_url : str, optional
        Instead of the venue's own, e.g. of `cmm exchange`.
    artifact_hash : str, optional
        Of the artifact that may trade (`cmm models list`); required.
    state : str
        Folder of the store, the journal and the latch.
    orphans : str
        What becomes of our orders that rest at the start: `cancel` or `refuse`.
    start_position : str
        A position that the store does not know, at its very first start: `refuse` or `adopt`.
    tolerance_lots : int
        Largest difference between store and venue that may trade.
    max_clock_offset_ms, max_artifact_age_days, min_balance : float
        Of the go-live checklist; an artifact's age is that of its last training day, null for any.
    answer_s : float
        A command unanswered for so long stops trading.
    heartbeat_s, heartbeat_timeout_s : float
        How often trader and watchdog say that they live, and how long a silence may be.
    audit_s : float
        How often the watchdog compares the trader's orders and position with the venue's.
    audits : int
        Differences in a row that halt.
    max_mid_drift_bps : float
        Between the trader's mid price and the one that the venue answers with: a book gone wrong unseen.
    unreachable_s : float
        The venue's silence that halts.
    dead_man_s : int
        The venue cancels everything when the watchdog's connection is down for so long; 0: not used.
    flatten : FlattenConfig
    watchdog : str
        `own`: the trader starts it; `service`: `cmm watchdog` runs beside it already.
    webhook : str, optional
        URL that alarms are posted to.
    journal : bool

    """

    armed: bool = False
    venue: Literal["bybit"] = "bybit"
    environment: Literal["testnet", "demo", "mainnet"] = "testnet"
    base_url: str | None = None
    artifact_hash: str | None = None
    state: str = "state"
    orphans: Literal["cancel", "refuse"] = "cancel"
    start_position: Literal["refuse", "adopt"] = "refuse"
    tolerance_lots: Annotated[int, Meta(ge=0)] = 0
    max_clock_offset_ms: Annotated[float, Meta(gt=0)] = 500.0
    max_artifact_age_days: Annotated[float, Meta(gt=0)] | None = None
    min_balance: Annotated[float, Meta(ge=0)] = 0.0
    answer_s: Annotated[float, Meta(gt=0)] = 3.0
    heartbeat_s: Annotated[float, Meta(gt=0)] = 0.25
    heartbeat_timeout_s: Annotated[float, Meta(gt=0)] = 2.0
    audit_s: Annotated[float, Meta(gt=0)] = 0.5
    audits: Annotated[int, Meta(ge=1)] = 4
    max_mid_drift_bps: Annotated[float, Meta(gt=0)] = 50.0
    unreachable_s: Annotated[float, Meta(gt=0)] = 5.0
    dead_man_s: Annotated[int, Meta(ge=0, le=300)] = 10
    flatten: FlattenConfig = FlattenConfig()
    watchdog: Literal["own", "service"] = "own"
    webhook: str | None = None
    journal: bool = True


class MonitorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What traders show of themselves, and the page that shows it.

    Parameters
    ----------
    enabled : bool
        Whether traders send frames.
    path : str, optional
        Folder in which traders and monitors find each other's sockets; null is one of the user's own.
    every_ms : float
        Between a paper trader's frames; a live one sends one with each heartbeat.
    host, port : str, int
        Where `cmm monitor` listens. Beyond this machine it needs CMM_MONITOR_TOKEN in the environment.
    hosts : list[str]
        Names by which browsers may reach it, besides localhost: others are refused.

    """

    enabled: bool = True
    path: str | None = None
    every_ms: Annotated[float, Meta(ge=50)] = 250.0
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8600
    hosts: list[str] = []


class CalibrateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Phantom orders for calibrating queue models.

    Parameters
    ----------
    phantoms : int
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

    phantoms: Annotated[int, Meta(ge=100)] = 6000
    horizon_s: Annotated[float, Meta(gt=0)] = 60.0
    levels: Annotated[int, Meta(ge=1)] = 3
    markout_s: Annotated[float, Meta(gt=0)] = 10.0
    fit_share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    block_s: Annotated[float, Meta(gt=0)] = 120.0
    draws: Annotated[int, Meta(ge=20)] = 200
    seed: int = 17


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
    paper: PaperConfig = PaperConfig()
    live: LiveConfig = LiveConfig()
    monitor: MonitorConfig = MonitorConfig()

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

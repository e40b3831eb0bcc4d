"""The simulated venue: queues, latency, fees, and the assumptions that a backtest is held against."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

type FeeScenario = Literal["exchange", "zero", "rebate"]


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

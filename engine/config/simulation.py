"""The simulated venue: queues, latency, fees, and the assumptions that a backtest is held against."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from venues.simulation.latency import LatencyConfig
from venues.simulation.queues import QueueConfig


class VenueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The simulated venue: queues, latency, money at the start."""

    queue: QueueConfig = QueueConfig()
    latency: LatencyConfig = LatencyConfig()
    starting_balance: Annotated[float, Meta(gt=0)] = 100_000_000.0


type EngineName = Literal["fast", "nautilus", "both"]


class BacktestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lane of a backtest, and the table of assumptions in its report.

    Parameters
    ----------
    engine : str
        `fast`: the compiled lane; `nautilus`: the same strategy in NautilusTrader's engine, as it trades live;
        `both`: each day in both, and an error at their first difference. The table of assumptions is traded in the
        fast lane, where `nautilus` does not forbid it.
    sensitivity : str
        `full`: run again under each queue model, latency and fee setting; `quick`: under each queue
        model and latency, fees priced on the same fills; `none`: other fees on the same fills only.
    latency_low_ms, latency_high_ms : float
        A command's way to the venue, against the one configured.

    """

    engine: EngineName = "fast"
    sensitivity: Literal["full", "quick", "none"] = "full"
    latency_low_ms: Annotated[float, Meta(ge=0)] = 0.5
    latency_high_ms: Annotated[float, Meta(ge=0)] = 100.0

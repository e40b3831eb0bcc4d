"""Paper and live trading, and what traders show of themselves."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class PaperConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Paper trading on live data: how long, 0 for until it is stopped; and how a replay's decisions are kept."""

    minutes: Annotated[float, Meta(ge=0)] = 0.0
    journal: bool = True


class FlattenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """After a halt: close the position by an immediate-or-cancel order at most this far beyond the mid."""

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
    start_s : float
        Starting and stopping may take so long: until then trader and watchdog bear each other's silence.
    request_s : float
        A question that the venue does not answer for so long has failed, and is asked again.
    data_alarm_s : float
        An alarm goes out when market data keep quotes from the market for so long (`guard.data`).
    dead_man_s : int
        The venue cancels everything when the watchdog's connection is down for so long; 0: not used.
    flatten : FlattenConfig
    watchdog : str
        `own`: the trader starts it; `service`: `cmm watchdog` runs beside it already.
    webhook : str, optional
        URL that alarms are posted to.
    journal : bool
    record : bool
        Keep the market data that the trader sees (paper on public data too), in `recording` of the state or run folder.

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
    start_s: Annotated[float, Meta(gt=0)] = 25.0
    request_s: Annotated[float, Meta(gt=0)] = 3.0
    data_alarm_s: Annotated[float, Meta(gt=0)] = 5.0
    dead_man_s: Annotated[int, Meta(ge=0, le=300)] = 10
    flatten: FlattenConfig = FlattenConfig()
    watchdog: Literal["own", "service"] = "own"
    webhook: str | None = None
    journal: bool = True
    record: bool = False


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

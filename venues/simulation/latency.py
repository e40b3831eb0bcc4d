"""How long commands take to the venue: constant, drawn from quantiles, or as a recorded series.

The engine's clock is that of ARRIVAL: recorded events carry the moment they reached the recorder, so
that the venue in the simulation is behind the real one by the feed's latency. A command therefore
needs decision + order + feed latency of simulated time until the venue has processed all that the
real one had before it. An answer to us needs no more: it travels as long as the data do.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from market.errors import ConfigError


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


class Delay(Protocol):
    """One leg's latency, ns."""

    def at(self, now_ns: int) -> int:
        """Latency of what happens now."""


class Constant:
    """Always the same."""

    def __init__(self, ms: float) -> None:
        self._ns = round(ms * 1e6)

    def at(self, now_ns: int) -> int:
        return self._ns


class Quantiles:
    """Independent draws from a distribution given by evenly spaced quantiles, linear between them."""

    def __init__(self, quantiles_ms: list[float], seed: int) -> None:
        self._values = np.asarray(quantiles_ms, np.float64) * 1e6
        self._grid = np.linspace(0.0, 1.0, len(quantiles_ms))
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def at(self, now_ns: int) -> int:
        return round(float(np.interp(self._rng.random(), self._grid, self._values)))


class Series:
    """A recorded series: what was measured last holds. Spikes stay where they were."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open(newline="") as handle:
                rows = [(int(row["ts_ns"]), float(row["ms"])) for row in csv.DictReader(handle)]
        except OSError as error:
            raise ConfigError(f"{path}: cannot read the latency series: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: expected a CSV with the columns ts_ns and ms") from error
        times = np.array([ts for ts, _ in rows], np.int64)
        values = np.array([ms for _, ms in rows], np.float64)
        if not rows or (np.diff(times) < 0).any() or not (np.isfinite(values).all() and (values >= 0).all()):
            raise ConfigError(f"{path}: a latency series needs rows in order of time with latencies of 0 ms or more")
        self._path, self._times, self._ns = path, times, np.rint(values * 1e6).astype(np.int64)

    def at(self, now_ns: int) -> int:
        return int(self._ns[max(int(np.searchsorted(self._times, now_ns, side="right")) - 1, 0)])

    def check_covers(self, start_ns: int, end_ns: int) -> None:
        """Raise where the series and a day do not overlap."""
        if self._times[-1] < start_ns or self._times[0] > end_ns:
            raise ConfigError(f"{self._path}: the latency series lies outside the day it is to be used for")


class Recorded:
    """The feed's own latency: arrival minus exchange time of the latest book, above the least seen
    so far (the two clocks differ by a constant that nobody recorded)."""

    def __init__(self) -> None:
        self._least: int | None = None
        self._ns = 0

    def see(self, ts_ns: int, ts_event: int) -> None:
        """Take note of a book update."""
        lag = ts_ns - ts_event
        self._least = lag if self._least is None else min(self._least, lag)
        self._ns = lag - self._least

    def at(self, now_ns: int) -> int:
        return self._ns


def make_delay(config: DelayConfig, seed: int, start_ns: int, end_ns: int) -> Delay:
    """Build one leg for a day."""
    if config.kind == "recorded":
        return Recorded()
    if config.kind == "constant":
        return Constant(config.ms)
    if config.kind == "quantiles":
        return Quantiles(config.quantiles_ms, seed)
    assert config.file is not None
    if config.kind == "measured":
        return Quantiles(_measured(Path(config.file)), seed)
    series = Series(Path(config.file))
    series.check_covers(start_ns, end_ns)
    return series


def _measured(run: Path) -> list[float]:
    """Quantiles of the decision time that a backtest measured, ms."""
    path = run / "summary.json"
    try:
        found = msgspec.json.decode(path.read_bytes())["decision_ms"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no decision times there; name the run folder of a `cmm backtest`") from error
    if not found:
        raise ConfigError(f"{path}: that run took no decision; name another one")
    return [float(ms) for ms in found]


class CommandPath:
    """All legs of a command's way to the venue."""

    def __init__(self, config: LatencyConfig, start_ns: int, end_ns: int) -> None:
        legs = (config.decision, config.order, config.feed)
        self._legs = [make_delay(leg, config.seed + i, start_ns, end_ns) for i, leg in enumerate(legs)]
        self._recorded = [leg for leg in self._legs if isinstance(leg, Recorded)]
        self._last = 0

    def see(self, ts_ns: int, ts_event: int) -> None:
        """Take note of a book update's times."""
        for leg in self._recorded:
            leg.see(ts_ns, ts_event)

    def arrival_ns(self, now_ns: int) -> int:
        """When commands decided now reach the venue: in order, as over one connection."""
        self._last = max(self._last, now_ns + sum(leg.at(now_ns) for leg in self._legs))
        return self._last

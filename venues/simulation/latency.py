"""How long commands take to the venue: constant, drawn from quantiles, or as a recorded series.

The engine's clock is that of ARRIVAL: recorded events carry the moment they reached the recorder, so
that the venue in the simulation is behind the real one by the feed's latency. A command therefore
needs decision + order + feed latency of simulated time until the venue has processed all that the
real one had before it. An answer to us needs no more: it travels as long as the data do.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from market.compiled import inlined, record_of
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


PATH = np.dtype(
    [
        ("constant_ns", np.int64),
        ("recorded", np.int64),  # legs that are the feed's own latency
        ("lag_ns", np.int64),  # of the latest book, above the least seen so far
        ("least_ns", np.int64),
        ("drawn", np.int64),  # draws used up
        ("last_ns", np.int64),  # when the latest commands arrive
    ],
    align=True,
)
"""What a command's way remembers. The two clocks of a recording differ by a constant that nobody recorded."""

_DRAWS = 4096
_UNSEEN = 1 << 62


class Delays(NamedTuple):
    """Latencies in ns: of a series (points,) what was measured last holds; `draws` (n,) are used up one a command."""

    series_at: NDArray[np.int64]
    series_ns: NDArray[np.int64]
    draws: NDArray[np.int64]


@inlined
def see_book(path, ts_ns, ts_event):  # type: ignore[no-untyped-def]
    """Take note of a book update's times."""
    lag = ts_ns - ts_event
    path.least_ns = min(path.least_ns, lag)
    path.lag_ns = lag - path.least_ns


@inlined
def arrival_ns(path, delays, now_ns):  # type: ignore[no-untyped-def]
    """When commands decided now reach the venue: one after the other, as over one connection."""
    takes = path.constant_ns + path.recorded * path.lag_ns
    if len(delays.series_at):
        takes += delays.series_ns[max(np.searchsorted(delays.series_at, now_ns, side="right") - 1, 0)]
    if len(delays.draws):
        takes += delays.draws[path.drawn]
        path.drawn += 1
    path.last_ns = max(path.last_ns + 1, now_ns + takes)
    return path.last_ns


class Quantiles:
    """Independent draws from a distribution given by evenly spaced quantiles, linear between them."""

    def __init__(self, quantiles_ms: list[float], seed: int) -> None:
        self._values = np.asarray(quantiles_ms, np.float64) * 1e6
        self._grid = np.linspace(0.0, 1.0, len(quantiles_ms))
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def draw(self, count: int) -> NDArray[np.int64]:
        """The next draws (count,), ns."""
        drawn = np.interp(self._rng.random(count), self._grid, self._values)
        return np.rint(drawn).astype(np.int64)


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
        self._path, self.times, self._ns = path, times, np.rint(values * 1e6).astype(np.int64)

    def at(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """What holds at each of some times, ns."""
        result: NDArray[np.int64] = self._ns[np.maximum(np.searchsorted(self.times, times, side="right") - 1, 0)]
        return result

    def check_covers(self, start_ns: int, end_ns: int) -> None:
        """Raise where the series and a day do not overlap."""
        if self.times[-1] < start_ns or self.times[0] > end_ns:
            raise ConfigError(f"{self._path}: the latency series lies outside the day it is to be used for")


def _measured(run: Path) -> list[float]:
    """Quantiles of the decision time that a backtest measured, ms."""
    path = run / "summary.json"
    try:
        found = msgspec.json.decode(path.read_bytes())["decision_ms"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no decision times there; name the run folder of a `cmm backtest`") from error
    if not found:
        raise ConfigError(f"{path}: that run timed no decision; name one of `cmm backtest --engine nautilus`")
    return [float(ms) for ms in found]


class CommandPath:
    """All legs of a command's way to the venue."""

    def __init__(self, config: LatencyConfig, start_ns: int, end_ns: int) -> None:
        legs = [(leg, config.seed + i) for i, leg in enumerate((config.decision, config.order, config.feed))]
        series = [Series(Path(leg.file)) for leg, _ in legs if leg.kind == "series" and leg.file is not None]
        for one in series:
            one.check_covers(start_ns, end_ns)
        self._quantiles = [
            Quantiles(leg.quantiles_ms if leg.kind == "quantiles" else _measured(Path(str(leg.file))), seed)
            for leg, seed in legs
            if leg.kind in ("quantiles", "measured")
        ]
        self.record: Any = record_of(
            PATH,
            constant_ns=sum(round(leg.ms * 1e6) for leg, _ in legs if leg.kind == "constant"),
            recorded=sum(leg.kind == "recorded" for leg, _ in legs),
            least_ns=_UNSEEN,
        )
        times = np.unique(np.concatenate([_NONE, *(one.times for one in series)]))
        self.delays = Delays(times, sum((one.at(times) for one in series), np.zeros_like(times)), _NONE)
        self.draw()

    def draw(self, least: int = 1) -> None:
        """Draw anew where fewer than `least` draws are left."""
        while self._quantiles and len(self.delays.draws) - self.record["drawn"] < least:
            left = self.delays.draws[int(self.record["drawn"]) :]
            fresh = np.sum([one.draw(_DRAWS) for one in self._quantiles], 0)
            self.delays, self.record["drawn"] = self.delays._replace(draws=np.concatenate([left, fresh])), 0

    def see(self, ts_ns: int, ts_event: int) -> None:
        """Take note of a book update's times."""
        if self.record["recorded"]:
            see_book(self.record, ts_ns, ts_event)

    def arrival_ns(self, now_ns: int) -> int:
        """When commands decided now reach the venue: in order, as over one connection."""
        self.draw()
        return int(arrival_ns(self.record, self.delays, now_ns))


_NONE = np.zeros(0, np.int64)

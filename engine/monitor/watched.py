"""What the monitor knows of one trader: the frames it heard, a bounded history, and whether it still lives."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.live.safety.state import StateFolder, is_alive
from engine.live.telemetry import About, ForecastOutcome, Frame

_POINTS = 2400  # ten minutes at four frames a second
_MISSED_S, _SILENT_S = 0.75, 1.5  # a few frames: then look for the process; many: something is wrong with it
_TIMES = 4096
_OUTCOMES = 600
_FILLS = 500
_ALARMS = 50
_NEW = 20  # of fills and outcomes with each look; the page has the earlier ones
BUCKETS_S = (20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2)
_COLUMNS = ("ts_ms", "mid", "bid", "ask", "position", "total", "captured", "inventory", "fees", "confidence")


class Watched:
    """One trader as the monitor sees it."""

    def __init__(self, frame: Frame) -> None:
        self.about: About = frame.about
        self.frame = frame
        self.heard = time.monotonic()
        self.points: deque[tuple[Any, ...]] = deque(maxlen=_POINTS)
        self.times: deque[int] = deque(maxlen=_TIMES)
        self.outcomes: deque[ForecastOutcome] = deque(maxlen=_OUTCOMES)
        self.fills: deque[tuple[int, int, int, int]] = deque(maxlen=_FILLS)
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.time_sum_s = 0.0
        self.lost = 0
        self.actions_per_s = 0.0
        self.alarms: deque[dict[str, Any]] = deque(maxlen=_ALARMS)
        self.alarm_counts: Counter[str] = Counter()
        self._alarms_at = 0
        self._rate: deque[tuple[float, int]] = deque(maxlen=21)

    def take(self, frame: Frame) -> None:
        """A frame came in."""
        now = time.monotonic()
        self.lost += max(frame.seq - self.frame.seq - 1, 0)
        if frame.about.artifact_hash != self.about.artifact_hash:
            self.outcomes.clear()  # of another artifact
        self.frame, self.heard, self.about = frame, now, frame.about
        self.times.extend(frame.decision_ns)
        for took in frame.decision_ns:
            seconds = took / 1e9
            self.time_sum_s += seconds
            self.buckets[next((i for i, edge in enumerate(BUCKETS_S) if seconds <= edge), len(BUCKETS_S))] += 1
        self.outcomes.extend(frame.outcomes)
        self.fills.extend(frame.fills)
        self._rate.append((now, actions(frame)))
        (t0, n0), (t1, n1) = self._rate[0], self._rate[-1]
        self.actions_per_s = (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0
        if frame.bids and frame.asks:
            wanted_bids, wanted_asks = frame.wanted
            self.points.append((
                frame.ts_ns // 1_000_000, 0.5 * (frame.bids[0][0] + frame.asks[0][0]),
                wanted_bids[0][0] if wanted_bids else None, wanted_asks[0][0] if wanted_asks else None,
                frame.position, frame.pnl.total, frame.pnl.captured, frame.pnl.inventory, frame.pnl.fees,
                frame.forecast[3] if frame.forecast is not None else None,
            ))  # fmt: skip

    @property
    def status(self) -> str:
        """trading, quiet (sound, but not quoting), halted, silent (no frames), stopped or dead."""
        frame = self.frame
        if frame.phase == "stopped":
            return "stopped"
        silence = time.monotonic() - self.heard
        if silence > _MISSED_S and not is_alive(self.about.pid):
            return "dead"
        if silence > _SILENT_S:
            return "silent"
        if frame.halted:
            return "halted"
        return "trading" if frame.orders else "quiet"

    @property
    def why(self) -> str:
        """What keeps it from quoting."""
        frame = self.frame
        return frame.halted or frame.paused or frame.problem or frame.fault

    def latency_us(self) -> dict[str, float]:
        """Percentiles of the last decisions."""
        if not self.times:
            return {}
        found = np.quantile(np.fromiter(self.times, np.float64), [0.5, 0.9, 0.99, 1.0]) / 1e3
        return dict(zip(("p50", "p90", "p99", "max"), found.round(1).tolist(), strict=True))

    def skill(self) -> dict[str, float]:
        """Forecast mid change against what happened, over the outcomes kept, in ticks."""
        if len(self.outcomes) < 20:
            return {}
        rows = np.array([(o.forecast, o.happened) for o in self.outcomes])
        forecast, happened = rows[:, 0], rows[:, 1]
        spread = forecast.std() * happened.std()
        common = float(np.mean((forecast - forecast.mean()) * (happened - happened.mean())))
        return {
            "n": len(rows), "correlation": round(common / float(spread), 4) if spread else 0.0,
            "bias": round(float((forecast - happened).mean()), 4),
            "rmse": round(float(np.sqrt(((forecast - happened) ** 2).mean())), 4),
            "rmse_unchanged": round(float(np.sqrt((happened**2).mean())), 4),
        }  # fmt: skip

    def read_alarms(self) -> None:
        """Alarms that trader, watchdog and `cmm halt` have written since the last look."""
        if self.about.state is None:
            return
        path = Path(self.about.state) / "alarms.jsonl"
        try:
            with path.open("rb") as handle:
                handle.seek(self._alarms_at)
                for row in handle:
                    if not row.endswith(b"\n"):
                        break
                    self._alarms_at += len(row)
                    with suppress(msgspec.DecodeError):
                        alarm = msgspec.json.decode(row, type=dict[str, Any])
                        if int(alarm.get("ts_ns", 0)) >= self.about.started_ns - 10**9:
                            self.alarms.append(alarm)
                            self.alarm_counts[str(alarm.get("kind"))] += 1
        except OSError:
            return

    def latched(self) -> dict[str, Any] | None:
        """The latch that forbids a new start, live only; none where its folder is not to be seen from here."""
        if self.about.state is None or not Path(self.about.state).is_dir():
            return None
        found = StateFolder(Path(self.about.state)).latched()
        return msgspec.to_builtins(found) if found is not None else None

    def view(self) -> dict[str, Any]:
        """What the page is told."""
        frame = self.frame
        return {
            "key": self.about.key, "about": msgspec.structs.asdict(self.about), "status": self.status, "why": self.why,
            "age_s": round(time.monotonic() - self.heard, 2), "ts_ms": frame.ts_ns // 1_000_000,
            "bids": frame.bids, "asks": frame.asks, "orders": frame.orders,
            "position": frame.position, "pnl": msgspec.structs.asdict(frame.pnl), "forecast": frame.forecast,
            "sigma": frame.sigma, "regime": frame.regime, "closeness": frame.closeness, "counts": frame.counts,
            "guard": {
                "halted": frame.halted, "paused": frame.paused, "problem": frame.problem, "fault": frame.fault,
                "budget_used": frame.budget_used, "latch": self.latched(),
            },
            "trial": _trial(frame), "drifts": frame.drifts, "resting": frame.resting,
            "decisions": frame.decisions, "latency_us": self.latency_us(),
            "actions_per_s": round(self.actions_per_s, 1), "skill": self.skill(),
            "frames_lost": self.lost, "alarms": list(self.alarms)[-12:],
            "point": self.points[-1] if self.points else None, "fills": list(self.fills)[-_NEW:],
            "outcomes": list(self.outcomes)[-_NEW:],
        }  # fmt: skip

    def history(self) -> dict[str, Any]:
        """Columns of the points kept, fills and outcomes."""
        columns: list[Any] = list(zip(*self.points, strict=True)) if self.points else [()] * len(_COLUMNS)
        return {
            "points": dict(zip(_COLUMNS, columns, strict=True)),
            "fills": list(self.fills),
            "outcomes": [list(outcome) for outcome in self.outcomes],
        }


def _trial(frame: Frame) -> dict[str, Any] | None:
    if frame.trial is None:
        return None
    found: dict[str, Any] = msgspec.to_builtins(frame.trial)
    return {**found, "verdict": frame.trial.verdict}


def actions(frame: Frame) -> int:
    """Order actions of a trader so far."""
    return sum(frame.counts.get(f"action_{kind}", 0) for kind in ("place", "amend", "cancel"))

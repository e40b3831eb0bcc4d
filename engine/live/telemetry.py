"""What a trader shows of itself: frames over a local datagram socket, which can be lost but never waited for.

A monitor binds a socket in the folder `monitor.path`; four times a second the trader sends one frame to
each socket it finds there, without blocking. Nobody there, a full buffer, a dead monitor: the frame is
dropped. Frames are made on the trading thread, but by a timer, not within a decision; whatever goes
wrong with them ends the telemetry, never the trading.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from engine.config import Config
from engine.live.deployment.deployment import SAMPLE_NS, Trial
from market.contracts import Contract
from market.errors import ConfigError
from market.events import BID
from models.ensemble.predictor import Forecast, Predictor
from models.features.outcomes import OutcomeTracker
from strategies.maker import MarketMaker
from strategies.observer import Observer, OwnFill
from strategies.values import Ladder, Market

if TYPE_CHECKING:
    from engine.live.deployment.model_manager import ModelManager

_LOOK_S = 1.0
_LEVELS = 12
_KEPT = 256  # of what piles up between two frames
_BUFFER = 1 << 20


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while a trader runs. `tick` and `lot` are decimals; `state` is its folder, live only;
    `students` names each task's students by layer group and regime."""

    instrument: str
    mode: str
    """paper or live."""
    pid: int
    started_ns: int
    quoter: str
    artifact: str | None
    artifact_hash: str | None
    horizon_s: float
    currency: str
    tick: str
    lot: str
    max_position_lots: int
    state: str | None = None
    students: list[str] = []

    @property
    def key(self) -> str:
        """Names one trader among those that a monitor hears."""
        return f"{self.instrument}@{self.started_ns}"


class Pnl(msgspec.Struct, frozen=True):
    """Money since the trader started, settlement currency: total = captured + inventory - fees."""

    total: float = 0.0
    captured: float = 0.0
    """Distance of fills from the mid at their time."""
    inventory: float = 0.0
    """Moves of the mid while lots were held."""
    fees: float = 0.0
    day: float = 0.0
    """Total of the trading day, over restarts."""


class ForecastOutcome(NamedTuple):
    """A forecast of the mid change and what came of it: times in ns, mids in ticks; it was due at t + H."""

    ts_ns: int
    due_ns: int
    mid: float
    forecast: float
    happened: float


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a trader. Prices are ticks, sizes lots, times ns; lists begin at the best level."""

    about: About
    seq: int
    ts_ns: int
    phase: str
    bids: list[tuple[int, int]] = []
    asks: list[tuple[int, int]] = []
    orders: list[tuple[int, int, int, int]] = []
    """(side, price, lots left, state) of all that may rest at the venue."""
    wanted: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    position: int = 0
    pnl: Pnl = Pnl()
    forecast: tuple[float, float, float, float] | None = None
    sigma: float = 0.0
    regime: int = 1
    closeness: list[list[float]] = []
    """By task, each student's closeness to the consensus, in (0, 1]."""
    outcomes: list[ForecastOutcome] = []
    """New since the last frame, as are `fills` (ts_ns, side, price, lots) and `decision_ns`."""
    fills: list[tuple[int, int, int, int]] = []
    decision_ns: list[int] = []
    decisions: int = 0
    counts: dict[str, int] = {}
    halted: str = ""
    paused: str = ""
    problem: str = ""
    fault: str = ""
    budget_used: float = 0.0
    trial: Trial | None = None
    """An artifact in the shadow against the one that trades."""
    drifts: dict[str, str] = {}
    """In which way the model no longer fits, by kind, in words."""
    resting: int | None = None
    """Orders at the venue, by its own answer; known at the end of a live run."""


def meeting_place(config: Config) -> Path:
    """The folder of the sockets, made if need be.

    Raises
    ------
    ConfigError
        It cannot be made, or others could listen in.

    """
    named = config.monitor.path
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = Path(named) if named is not None else base / f"cmm-{os.getuid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError as error:
        raise ConfigError(
            f"{folder}: {error.strerror}; set monitor.path to a folder of yours, or monitor.enabled=false"
        ) from error
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ConfigError(f"{folder}: others could write there; set monitor.path to a folder that is yours alone")
    return folder.resolve()


class Publisher:
    """Sends to every socket in a folder, and drops what is not taken at once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder
        self._socket: socket.socket | None = None  # not before somebody listens
        self._folder = -1
        self._names: list[str] = []
        self._looked = float("-inf")
        self.dropped = 0

    def has_listeners(self) -> bool:
        """Whether a socket is there; looked up once a second."""
        now = time.monotonic()
        if now - self._looked > _LOOK_S:
            self._looked = now
            with suppress(OSError):
                self._names = sorted(name for name in os.listdir(self._path) if name.endswith(".sock"))  # noqa: PTH208
        return bool(self._names)

    def send(self, message: bytes) -> None:
        if self._socket is None:
            # a socket's path may have 108 bytes: through the open folder it is short wherever the folder lies
            self._folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        for name in self._names:
            try:
                self._socket.sendto(message, f"/proc/self/fd/{self._folder}/{name}")
            except OSError:
                self.dropped += 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            os.close(self._folder)
            self._socket = None


class Telemetry(Observer):
    """Watches one maker and publishes frames; its callbacks are the maker's observer's.

    Parameters
    ----------
    config : Config
    about : About
    contract : Contract
    predictor : Predictor, optional

    """

    def __init__(self, config: Config, about: About, contract: Contract, predictor: Predictor | None) -> None:
        self._folder = meeting_place(config)
        self._publisher = Publisher(self._folder)
        self.about, self._mark_value, self._predictor = about, contract.mark_value, predictor
        self._encoder = msgspec.json.Encoder()
        self._maker: MarketMaker | None = None
        self._models: ModelManager | None = None
        self._last: tuple[int, Market, Forecast | None, Ladder | None] | None = None
        self._horizon_ns = round(about.horizon_s * 1e9)
        self._tracker = _tracker(predictor)
        self._outcomes: list[ForecastOutcome] = []
        self._fills: list[tuple[int, int, int, int]] = []
        self._times: list[int] = []
        self._decisions = self._seq = 0
        self._captured = self._fees = 0.0
        self._start: float | None = None
        self._is_broken = False
        if predictor is not None:
            predictor.watch()  # now: reading and importing take a third of a second, and trading waits for nobody

    def bind(self, maker: MarketMaker, models: ModelManager | None) -> None:
        """The maker that is watched, and what is known of its models."""
        self._maker, self._models = maker, models

    def adopt(self, predictor: Predictor, folder: Path) -> None:
        """Another artifact trades; it is watched already."""
        manifest = predictor.manifest
        self.about = msgspec.structs.replace(
            self.about, artifact=str(folder), artifact_hash=manifest.hash, students=_students(manifest)
        )
        self._predictor = predictor
        self._tracker = _tracker(predictor)

    # ── within decisions: as little as can be ─────────────────────────────────────────────────

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        """Remember the last update; hold earlier forecasts against what came of them, as the model manager does."""
        self._last = (ts_ns, market, forecast, ladder)
        if self._start is None and self._maker is not None:
            self._start = self._maker.ledger.equity(market.mid_ticks)
        if self._tracker is None:
            return
        for (mid, change), came in self._tracker.on_book(ts_ns, market.bid_ticks, market.ask_ticks, sound=True):
            if came is not None and len(self._outcomes) < _KEPT:
                due_ns = came.ts_ns + self._horizon_ns
                self._outcomes.append(ForecastOutcome(came.ts_ns, due_ns, mid, change, came.mid_change_ticks))
        if forecast is not None and self._tracker.is_due(ts_ns):
            self._tracker.sample(ts_ns, (market.mid_ticks, forecast.mid_change_ticks))

    def on_decision_time(self, wall_ns: int) -> None:
        self._decisions += 1
        if len(self._times) < _KEPT:
            self._times.append(wall_ns)

    def on_fill(self, fill: OwnFill) -> None:
        signed = fill.lots if fill.side == BID else -fill.lots
        if self._last is not None:
            self._captured += signed * (self._mark_value(self._last[1].mid_ticks) - self._mark_value(float(fill.price)))
        self._fees += float(fill.commission)
        if len(self._fills) < _KEPT:
            self._fills.append((fill.ts_ns, fill.side, fill.price, fill.lots))

    # ── by the timer ──────────────────────────────────────────────────────────────────────────

    def asks_to_halt(self) -> bool:
        """Whether a monitor wants a paper trader to stop quoting; a live one has its latch."""
        return (self._folder / halt_file(self.about)).exists()

    def publish(self, phase: str, resting: int | None = None) -> None:
        """Send a frame to whoever listens."""
        if self._publisher.has_listeners() and not self._is_broken:
            try:
                self._publisher.send(self._encoder.encode(self.frame(phase, resting)))
            except Exception as error:  # whatever it is, it must not end the trading
                self._is_broken = True
                with suppress(OSError):
                    print(f"telemetry has ended: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        for pile in (self._outcomes, self._fills, self._times):
            pile.clear()

    def frame(self, phase: str, resting: int | None = None) -> Frame:
        """The look of the maker now."""
        maker = self._maker
        assert maker is not None
        self._seq += 1
        trading = maker.trading
        if self._last is None:
            return Frame(
                about=self.about, seq=self._seq, ts_ns=0, phase=phase, position=maker.position, halted=trading.halted,
                paused=trading.paused, problem=maker.problem, counts=dict(maker.counts), resting=resting,
            )  # fmt: skip
        ts_ns, market, forecast, ladder = self._last
        bids, asks = maker.shown(_LEVELS)
        return Frame(
            about=self.about, seq=self._seq, ts_ns=ts_ns, phase=phase, bids=bids, asks=asks,
            orders=[(o.side, o.price, o.left, int(o.state)) for o in maker.orders.working.all()],
            wanted=(ladder.bids.tolist(), ladder.asks.tolist()) if ladder is not None else ([], []),
            position=maker.position, pnl=self._pnl(maker, market.mid_ticks), forecast=forecast,
            sigma=market.sigma_ticks, regime=market.regime, closeness=self._closeness(forecast),
            outcomes=self._outcomes, fills=self._fills, decision_ns=self._times, decisions=self._decisions,
            counts=dict(maker.counts), halted=trading.halted, paused=trading.paused, problem=maker.problem,
            fault=maker.model_fault, budget_used=maker.money.used, resting=resting,
            trial=self._models.trial() if self._models is not None else None,
            drifts=self._models.drifts if self._models is not None else {},
        )  # fmt: skip

    def close(self, phase: str, resting: int | None = None) -> None:
        """A last frame, and no more."""
        self.publish(phase, resting)
        self._publisher.close()
        with suppress(OSError):
            (self._folder / halt_file(self.about)).unlink(missing_ok=True)

    def _pnl(self, maker: MarketMaker, mid: float) -> Pnl:
        total = maker.ledger.equity(mid) - (self._start or 0.0)
        return Pnl(total, self._captured, total - self._captured + self._fees, self._fees, maker.ledger.pnl(mid))

    def _closeness(self, forecast: Forecast | None) -> list[list[float]]:
        if self._predictor is None or forecast is None:
            return []
        found: list[list[float]] = self._predictor.closeness().round(4).tolist()
        return found


def _tracker(predictor: Predictor | None) -> OutcomeTracker[tuple[float, float]] | None:
    """Notes mid and forecast mid change of each sample, ticks."""
    if predictor is None:
        return None
    spec = predictor.manifest.spec
    return OutcomeTracker(spec.horizon_s, spec.max_gap_s, SAMPLE_NS)


def about_of(
    config: Config, contract: Contract, predictor: Predictor | None, mode: str, quoter: str, artifact: Path | None,
    state: Path | None = None,
) -> About:  # fmt: skip
    """The unchanging part of a trader's frames."""
    manifest: Any = predictor.manifest if predictor is not None else None
    spec = manifest.spec if manifest is not None else config.features
    return About(
        instrument=contract.id, mode=mode, pid=os.getpid(), started_ns=time.time_ns(), quoter=quoter,
        artifact=str(artifact) if artifact is not None else None,
        artifact_hash=manifest.hash if manifest is not None else None,
        horizon_s=spec.horizon_s, currency=contract.terms.currency, tick=str(contract.terms.tick),
        lot=str(contract.terms.lot), max_position_lots=config.limits.max_position_lots,
        state=str(state.resolve()) if state is not None else None,
        students=_students(manifest) if manifest is not None else [],
    )  # fmt: skip


def _students(manifest: Any) -> list[str]:
    each = manifest.students // len(manifest.tasks)
    groups = max(each // manifest.regimes, 1)
    regimes = manifest.regimes
    names = ("calm", "normal", "volatile") if regimes == 3 else [f"regime {r}" for r in range(regimes)]
    layers = ("early", "middle", "late") if groups == 3 else [f"group {g}" for g in range(groups)]
    return [f"{name} · {layer}" for name in names for layer in layers][:each]  # as `models.fusion.regime_of` has them


def halt_file(about: About) -> str:
    """Name of the file that asks a paper trader to stop quoting."""
    return f"halt-{about.started_ns}"

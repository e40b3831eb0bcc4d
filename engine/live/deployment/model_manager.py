"""A trader's models: the one that trades, one in its shadow, the change of one for the other, and drift.

Everything slow (reading and loading artifacts, writing the deployment) happens on a thread of its own; the
trading thread only puts the finished parts in place, between two book updates. Whatever goes wrong with a
shadow ends the shadow, never the trading.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.config import Config
from engine.live.deployment import deployment as deployments
from engine.live.deployment.deployment import SAMPLE_NS, Answer, Deployment, ModelReference, Request, Trial
from engine.live.records.journal import Journal
from market.errors import ConfigError
from models.ensemble import artifact
from models.ensemble.drift import FeatureRange, Paired
from models.ensemble.predictor import Forecast, Predictor
from models.errors import ModelError
from models.features.outcomes import Known, OutcomeTracker
from strategies.maker import MarketMaker
from strategies.observer import Observer
from strategies.values import Ladder, Market

_LOOK_NS = 1_000_000_000
_REPORT_BEATS = 8
_BLOCK_HORIZONS = 2
_WELL = 0.5  # of the limit: what drifted is well again below that, so that alarms do not flutter
_DAYS_NS = 7 * 86_400 * 10**9


class ShadowHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a shadow's journal."""

    schema: int = 1
    trading: ModelReference
    shadow: ModelReference
    instrument: str
    columns: tuple[str, ...] = ("ts_ns", "features_hash", "forecast", "trading_forecast")


class Shadow:
    """An artifact that forecasts beside the trading one, on the same features, and journals what it says."""

    def __init__(
        self, predictor: Predictor, who: ModelReference, trading: ModelReference, instrument: str, path: Path | None
    ) -> None:
        self.predictor, self.who, self._trading = predictor, who, trading
        self.forecasts = self.failed = 0
        self.since_ns = 0
        self._encoder = msgspec.json.Encoder()
        self._fd = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
            self._write(self._encoder.encode(ShadowHeader(trading=trading, shadow=who, instrument=instrument)))

    def forecast(self, ts_ns: int, features: NDArray[np.float32], trading: Forecast | None) -> Forecast | None:
        """Forecast from the vector (features,) that the trading one had."""
        self.predictor.features[0] = features
        found = self.predictor.predict()
        self.since_ns = self.since_ns or ts_ns
        self.forecasts += 1
        self.failed += found is None
        if self._fd >= 0:
            digest = hashlib.blake2b(features.tobytes(), digest_size=8).hexdigest()
            self._write(self._encoder.encode((ts_ns, digest, found, trading)))
        return found

    def _write(self, line: bytes) -> None:
        line += b"\n"
        if os.write(self._fd, line) != len(line):
            raise OSError("the disk is full")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Ready(NamedTuple):
    """What the loader made for the trading thread: a new deployment with the parts that it needs."""

    request: Request
    deployment: Deployment
    shadow: Shadow | None
    trading: Predictor | None
    """Takes over, with `journal`; None where the trading one stays."""
    journal: Journal | None


class _Due(NamedTuple):
    """Forecasts made at the same time, waiting for their horizon to pass, and the trial that they belong to."""

    forecast: Forecast
    shadow: Forecast | None
    trial: int


class ModelManager(Observer):
    """What a trader does about its models besides forecasting.

    Parameters
    ----------
    folder : Path
        Where the deployment lies.
    config : Config
    deployment : Deployment
        With the artifact of `predictor` trading.
    predictor : Predictor
    instrument : str
    new_journal : callable
        Makes the next journal of decisions for an artifact, None where none is kept.
    new_path : callable, optional
        Where the journal of a shadow goes, by its hash; None keeps none.
    promoted : callable
        Told of predictor, member and journal that trade from now on, on the trading thread.
    alarm : callable
        Raises an alarm of a kind with a text.

    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        deployment: Deployment,
        predictor: Predictor,
        instrument: str,
        new_journal: Callable[[Predictor, ModelReference], Journal | None],
        new_path: Callable[[str], Path] | None,
        promoted: Callable[[Predictor, ModelReference, Journal | None], None],
        alarm: Callable[[str, str], None],
    ) -> None:
        spec = predictor.manifest.spec
        self._folder, self._config, self._instrument = folder, config.model.drift, instrument
        self._new_journal, self._new_path, self._promoted, self._alarm = new_journal, new_path, promoted, alarm
        self._block = round(_BLOCK_HORIZONS * spec.horizon_s * 1e9)
        self._looks = round(self._config.window_s)
        self._predictor = predictor
        self._maker: MarketMaker | None = None
        self._trial = 0
        self._look_ns = self._ts_ns = 0
        self._beats = 0
        self._broken = ""
        self._is_loading = self._is_said = self._is_full = False
        self._shadow: Shadow | None = None
        self.deployment = msgspec.structs.replace(deployment, pid=os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / deployments.REQUEST).unlink(missing_ok=True)  # of a time before this trader
        if deployment.shadow is not None:
            try:
                self._shadow = self._load(deployment.shadow, deployment.trading)
            except (ConfigError, ModelError, OSError) as error:
                alarm("shadow", f"{instrument}: {deployment.shadow.hash} does not run in the shadow: {error}")
        deployments.write_deployment(folder, self.deployment)
        self._new_track()
        self._jobs: queue.Queue[tuple[Request, Trial | None] | None] = queue.Queue()
        self._ready: queue.SimpleQueue[_Ready | Answer] = queue.SimpleQueue()
        self._loader = threading.Thread(target=self._load_all, name="models", daemon=True)
        self._loader.start()

    def bind(self, maker: MarketMaker) -> None:
        """The maker that trades."""
        self._maker = maker

    def _new_track(self) -> None:
        """Forget outcomes and looks: another artifact trades."""
        spec = self._predictor.manifest.spec
        self._tracker: OutcomeTracker[_Due] = OutcomeTracker(spec.horizon_s, spec.max_gap_s, SAMPLE_NS)
        self._unchanged = Paired(self._block, max(round(self._config.window_s * 1e9 / self._block), 1))
        self._range = FeatureRange(list(spec.names), self._looks)
        self.drifts: dict[str, str] = {}
        """What has drifted, by kind, in words."""
        self._new_trial()

    def _new_trial(self) -> None:
        """Begin to compare anew: another artifact is in the shadow, or none."""
        self._trial += 1  # what the last one forecast is of no account any more
        self._mid, self._spread = (Paired(self._block, _DAYS_NS // self._block) for _ in range(2))

    # ── with each sound book update, after its actions went out ───────────────────────────────

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        """Hold earlier forecasts against what came of them; where one was asked for, let the shadow forecast too."""
        if self._broken:
            return
        try:
            self._follow(ts_ns, market, forecast, decided=ladder is not None)
        except Exception as error:  # whatever it is, it must not end the trading
            self._broken = f"{type(error).__name__}: {error}"

    def _follow(self, ts_ns: int, market: Market, forecast: Forecast | None, *, decided: bool) -> None:
        self._ts_ns = ts_ns
        for known in self._tracker.on_book(ts_ns, market.bid_ticks, market.ask_ticks, sound=True):
            self._come_due(known)
        if not decided:
            return
        features = self._predictor.features[0]
        shadow = self._shadow.forecast(ts_ns, features, forecast) if self._shadow is not None else None
        if ts_ns >= self._look_ns:
            self._look_ns = ts_ns + _LOOK_NS
            self._range.add(self._predictor.outside())
        if forecast is not None and self._tracker.is_due(ts_ns):
            self._tracker.sample(ts_ns, _Due(forecast, shadow, self._trial))

    def _come_due(self, known: Known[_Due]) -> None:
        (mine, other, trial), came = known
        if came is None:
            return  # broken off by a gap: nobody knows
        self._unchanged.add(came.ts_ns, mine.mid_change_ticks, 0.0, came.mid_change_ticks)
        if other is not None and trial == self._trial:
            self._mid.add(came.ts_ns, other.mid_change_ticks, mine.mid_change_ticks, came.mid_change_ticks)
            self._spread.add(came.ts_ns, other.spread_ticks, mine.spread_ticks, came.mean_spread_ticks)

    # ── by the timer, on the trading thread ───────────────────────────────────────────────────

    def by_timer(self) -> None:
        """Take up requests and put in place what the loader has finished."""
        self._beats += 1
        try:
            if self._broken and not self._is_said:
                self._is_said = True
                self._give_up()
            if not self._is_loading:
                request = deployments.take_request(self._folder)
                if request is not None:
                    self._is_loading = True  # one at a time: each builds on the deployment that the last one left
                    self._jobs.put((request, self.trial()))
            elif not self._ready.empty():
                self._is_loading = False
                self._place(self._ready.get())
            if self._beats % _REPORT_BEATS == 0:
                self._look_for_drift()
                found = self.trial()
                if found is not None:
                    deployments.keep_trial(self._folder, found)
                self._is_full = False
        except Exception as error:  # a full disk, say: trading goes on without
            if not self._is_full:
                self._is_full = True  # once, until it works again
                self._alarm("models", f"{self._instrument}: {self._folder}: {type(error).__name__}: {error}")

    def _place(self, ready: _Ready | Answer) -> None:
        if isinstance(ready, Answer):
            deployments.answer(self._folder, ready)
            return
        before = self.deployment.trading
        if ready.trading is not None:
            assert self._maker is not None
            self._maker.adopt(ready.trading)
            self._predictor = ready.trading
            self._promoted(ready.trading, ready.deployment.trading, ready.journal)
        if self._shadow is not None:
            self._shadow.close()
        self._shadow, self.deployment = ready.shadow, ready.deployment
        if ready.trading is not None:
            self._new_track()
        else:
            self._new_trial()
        text = {
            "shadow": f"{_hash(ready.deployment.shadow)} runs in the shadow of {ready.deployment.trading.hash}",
            "drop": f"nothing runs in the shadow of {ready.deployment.trading.hash} any more",
        }.get(ready.request.action, f"{ready.deployment.trading.hash} trades, {before.hash} runs in its shadow")
        if ready.trading is not None:
            self._alarm("promotion", f"{self._instrument}: {text}; {ready.request.because or 'no reason given'}")
        deployments.answer(self._folder, Answer(ready.request.id, True, text))

    def _give_up(self) -> None:
        """After a failure the shadow ends, or if there is none the watch for drift; the next start brings both back."""
        if self._shadow is None:
            self._alarm("models", f"{self._instrument}: drift is not watched any more: {self._broken}")
            return
        self._alarm("shadow", f"{self._instrument}: {self._shadow.who.hash} failed: {self._broken}")
        self._shadow.close()
        self._shadow = None
        self._broken, self._is_said = "", False
        self._new_track()

    def _look_for_drift(self) -> None:
        found: dict[str, str] = {}

        def limit(kind: str, at: float) -> float:
            return at * _WELL if kind in self.drifts else at

        outside = self._range.drifted(limit("feature_drift", self._config.max_outside_share))
        if outside:
            worst = ", ".join(f"{one.feature} at {100 * one.share:.0f}%" for one in outside[:3])
            found["feature_drift"] = f"{len(outside)} features lie outside their training range: {worst} of the looks"
        c = self._unchanged.compare()
        if c.z is not None and c.z > limit("calibration_drift", self._config.sigmas):
            found["calibration_drift"] = (
                f'forecasts err more than "no change": {c.rmse or 0.0:.3f} against {c.rmse_other or 0.0:.3f} ticks '
                f"over {c.outcomes} outcomes ({c.z:.1f} standard errors)"
            )
        for kind in sorted(found.keys() - self.drifts.keys()):  # once, until it has been well again
            self._alarm(kind, f"{self._instrument}: {self.deployment.trading.hash}: {found[kind]}")
        self.drifts = found

    def trial(self) -> Trial | None:
        """What is known of the shadow, None where there is none."""
        if self._shadow is None:
            return None
        return Trial(
            trading=self.deployment.trading, shadow=self._shadow.who, since_ns=self._shadow.since_ns,
            until_ns=self._ts_ns, forecasts=self._shadow.forecasts, failed=self._shadow.failed,
            in_sample=self._is_in_sample(self._shadow),
            mid=self._mid.compare(), spread=self._spread.compare(),
        )  # fmt: skip

    def _is_in_sample(self, shadow: Shadow) -> bool:
        date = str(dt.datetime.fromtimestamp(shadow.since_ns / 1e9, dt.UTC).date())
        manifests = (shadow.predictor.manifest, self._predictor.manifest)
        return shadow.since_ns > 0 and any(
            self._instrument in m.instruments and date <= max(m.seen, default="") for m in manifests
        )

    def close(self) -> None:
        """The trader ends: keep what is known."""
        self._jobs.put(None)
        self._loader.join(5.0)
        found = self.trial()
        try:
            if found is not None:
                deployments.keep_trial(self._folder, found)
            deployments.write_deployment(self._folder, msgspec.structs.replace(self.deployment, pid=0))
        except OSError as error:
            self._alarm("models", f"{self._folder}: {error.strerror}")
        if self._shadow is not None:
            self._shadow.close()

    # ── on the loader's thread ────────────────────────────────────────────────────────────────

    def _load_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            request, trial = job
            try:
                self._ready.put(self._prepare(request, trial))
            except (ConfigError, ModelError) as error:
                self._ready.put(Answer(request.id, False, str(error)))
            except Exception as error:
                self._ready.put(Answer(request.id, False, f"{type(error).__name__}: {error}"))

    def _prepare(self, request: Request, trial: Trial | None) -> _Ready:
        new = deployments.changed(self.deployment, request, trial)
        trading = self._loaded(new.trading) if new.trading != self.deployment.trading else None
        shadow = self._load(new.shadow, new.trading) if new.shadow is not None else None
        journal = None
        try:
            journal = self._new_journal(trading, new.trading) if trading is not None else None
            deployments.write_deployment(
                self._folder, new
            )  # before it holds: a restart must find what people asked for
        except OSError:
            for opened in (shadow, journal):
                if opened is not None:
                    opened.close()
            raise
        return _Ready(request, new, shadow, trading, journal)

    def _load(self, who: ModelReference, trading: ModelReference) -> Shadow:
        path = self._new_path(who.hash) if self._new_path is not None else None
        return Shadow(self._loaded(who), who, trading, self._instrument, path)

    def _loaded(self, who: ModelReference) -> Predictor:
        found = artifact.read(Path(who.path)).hash
        if found != who.hash:
            raise ConfigError(f"{who.path}: the artifact there is {found} now, not {who.hash}; put it back")
        predictor = Predictor(Path(who.path))
        predictor.watch()
        return predictor


def _hash(one: ModelReference | None) -> str:
    return one.hash if one is not None else "nothing"

"""Which artifact trades, which one runs beside it in the shadow, and how people ask a trader to change that.

Small files lie in a trader's folder: `models.json` is the deployment, written by the trader (or, while none
runs, by `cmm models`); `models-request.json` asks for a change, `models-answer.json` says what became of it;
`models-trial.json` is what is known of the shadow. Files are written beside and renamed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.live.safety.state import is_alive
from engine.plan import Plan
from market.errors import ConfigError
from market.files import read_json, write_json
from models.ensemble import artifact
from models.ensemble.drift import Comparison

DEPLOYMENT, REQUEST, ANSWER, TRIAL = "models.json", "models-request.json", "models-answer.json", "models-trial.json"
SAMPLE_NS = 1_000_000_000
"""Least time of market between forecasts that are held against what happens."""
LEAST_OUTCOMES = 300
WORSE, BETTER = 1.0, -2.0  # standard errors: it takes more to be called better
type Act = Literal["shadow", "drop", "promote", "rollback"]


class ModelReference(msgspec.Struct, frozen=True):
    """An artifact by its folder, absolute, and its hash."""

    path: str
    hash: str


class Change(msgspec.Struct, frozen=True):
    """One change of the deployment, for those who look back."""

    ts_ns: int
    action: Act
    member: ModelReference
    because: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Who plays."""

    configured: str
    """Hash of the artifact that the configuration names; where it names another one, that one trades."""
    trading: ModelReference
    previous: ModelReference | None = None
    """What traded before the last promotion."""
    shadow: ModelReference | None = None
    pid: int = 0
    """Of the trader, 0 while none runs."""
    history: list[Change] = []


class Request(msgspec.Struct, frozen=True):
    """Asks a running trader for a change. `anyway` promotes without, or against, what the comparison says."""

    id: str
    action: Act
    shadow: ModelReference | None
    anyway: bool
    because: str


class Answer(msgspec.Struct, frozen=True):
    """What became of the request of that id."""

    id: str
    done: bool
    text: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A shadow held against the artifact that trades, over the same outcomes."""

    trading: ModelReference
    shadow: ModelReference
    since_ns: int
    """Time of market of its first forecast."""
    until_ns: int
    forecasts: int
    failed: int
    """Forecasts that were not finite."""
    in_sample: bool
    """A replay of days that one of the two was trained on, or of earlier ones: no evidence."""
    mid: Comparison
    """Mid change over the horizon, ticks: the shadow's forecast, and the trading one's as the other."""
    spread: Comparison
    """Mean spread over the horizon, ticks."""

    @property
    def verdict(self) -> str:
        """better, worse, not told apart, undecided (too little has happened), or in-sample (no evidence)."""
        if self.in_sample:
            return "in-sample"
        if self.failed:
            return "worse"
        if self.mid.outcomes < LEAST_OUTCOMES or self.mid.z is None:
            return "undecided"
        return "worse" if self.mid.z > WORSE else "better" if self.mid.z < BETTER else "not told apart"


def member(folder: Path) -> ModelReference:
    """Read and verify an artifact.

    Raises
    ------
    ModelError
        Missing or damaged.

    """
    return ModelReference(str(folder.resolve()), artifact.read(folder).hash)


def read_deployment(folder: Path) -> Deployment | None:
    """The deployment of a trader's folder, None where there is none.

    Raises
    ------
    ConfigError
        It cannot be read: which artifact was promoted is then unknown.

    """
    path = folder / DEPLOYMENT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Deployment)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}), so that what was promoted is unknown; move it away, and the "
            "artifact that the configuration names will trade"
        ) from error


def write_deployment(folder: Path, deployment: Deployment) -> None:
    """Keep a deployment, durably."""
    write_json(folder / DEPLOYMENT, deployment, durable=True)


def ask(folder: Path, request: Request) -> None:
    """Leave a request.

    Raises
    ------
    ConfigError
        Another one waits: each builds on what the last one left.

    """
    path = folder / REQUEST
    beside = path.with_name(f".{path.name}.{request.id}")
    beside.write_bytes(msgspec.json.encode(request))
    try:
        os.link(beside, path)
    except FileExistsError as error:
        raise ConfigError(f"{path}: somebody else asks for a change just now; look at `cmm models shadow`") from error
    finally:
        beside.unlink()


def withdraw(folder: Path, request: Request) -> None:
    """Take a request back: it must not be met later, when nobody expects it."""
    found = read_json(folder / REQUEST, Request)
    if found is not None and found.id == request.id:
        (folder / REQUEST).unlink(missing_ok=True)


def take_request(folder: Path) -> Request | None:
    """The request that waits, once."""
    path = folder / REQUEST
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    path.unlink(missing_ok=True)
    try:
        return msgspec.json.decode(raw, type=Request)
    except msgspec.DecodeError:
        return None


def answer(folder: Path, reply: Answer) -> None:
    write_json(folder / ANSWER, reply)


def answered(folder: Path, request_id: str) -> Answer | None:
    """The answer to a request, when it has come."""
    found = read_json(folder / ANSWER, Answer)
    return found if found is not None and found.id == request_id else None


def keep_trial(folder: Path, trial: Trial) -> None:
    write_json(folder / TRIAL, trial)


def last_trial(folder: Path) -> Trial | None:
    """What was last known of a shadow in this folder."""
    return read_json(folder / TRIAL, Trial)


def begin(folder: Path, plan: Plan, configured: str | None = None) -> tuple[Plan, Deployment | None]:
    """At a trader's start: the plan with the artifact that is to trade, and the deployment.

    Parameters
    ----------
    folder : Path
    plan : Plan
        With the artifact that the configuration names.
    configured : str, optional
        Its hash, where the configuration says so; it need not lie there any more after a promotion.

    """
    if plan.artifact is None:
        return plan, None
    found = read_deployment(folder)
    configured = configured or member(plan.artifact).hash
    if found is None or found.configured != configured:  # nothing was promoted, or people have configured another
        here = member(plan.artifact)
        return plan, Deployment(configured=here.hash, trading=here, history=found.history if found is not None else [])
    if found.trading.hash == configured:
        return plan, msgspec.structs.replace(found, trading=member(plan.artifact))  # it may have moved
    return msgspec.structs.replace(plan, artifact=Path(found.trading.path)), found


def runs(deployment: Deployment) -> bool:
    """Whether the trader of a deployment lives."""
    return deployment.pid > 0 and is_alive(deployment.pid)


def changed(deployment: Deployment, request: Request, trial: Trial | None) -> Deployment:
    """The deployment after a request.

    Raises
    ------
    ConfigError
        It cannot be done, or it ought not to be.

    """
    action, shadow = request.action, request.shadow
    if action == "shadow":
        assert shadow is not None
        if shadow.hash == deployment.trading.hash:
            raise ConfigError(f"{shadow.path}: this is the artifact that trades ({shadow.hash}); name another one")
        if artifact.read(Path(shadow.path)).spec_hash != artifact.read(Path(deployment.trading.path)).spec_hash:
            raise ConfigError(
                f"{shadow.path}: its features are computed differently from those of the artifact that trades; it "
                "cannot run beside it: try it with `cmm paper`, then name it in the configuration"
            )
        return _with(deployment, request, shadow, shadow=shadow)
    if action == "drop":
        if deployment.shadow is None:
            raise ConfigError("no artifact runs in the shadow")
        return _with(deployment, request, deployment.shadow, shadow=None)
    if action == "promote":
        rising = deployment.shadow
        if rising is None:
            raise ConfigError("no artifact runs in the shadow; begin with `cmm models shadow ARTIFACT`")
        if not request.anyway:
            _judge(rising, trial)
        return _with(
            deployment, request, rising, trading=_sound(rising), previous=deployment.trading, shadow=deployment.trading
        )
    back = deployment.previous
    if back is None:
        raise ConfigError("nothing was promoted: there is nothing to go back to")
    return _with(deployment, request, back, trading=_sound(back), previous=None, shadow=deployment.trading)


def _judge(rising: ModelReference, trial: Trial | None) -> None:
    if trial is None or trial.shadow.hash != rising.hash:
        raise ConfigError(f"{rising.hash}: nothing is known of it yet; wait, or promote it with --anyway")
    if trial.verdict == "in-sample":
        raise ConfigError(
            f"{rising.hash}: it or {trial.trading.hash} was trained on this recording or later ones, so that comparing "
            "them proves nothing; replay a later day, or say --anyway"
        )
    if trial.verdict == "undecided":
        raise ConfigError(
            f"{rising.hash}: {trial.mid.outcomes} forecasts were held against what happened, {LEAST_OUTCOMES} are "
            "needed; wait, or promote it with --anyway"
        )
    if trial.verdict == "worse":
        why = (
            f"{trial.failed} forecasts were not finite"
            if trial.failed
            else f"by {trial.mid.z or 0.0:.1f} standard errors"
        )
        raise ConfigError(f"{rising.hash}: it forecasts worse than what trades ({why}); keep it out, or say --anyway")


def _sound(one: ModelReference) -> ModelReference:
    """Still what it was when it was named."""
    found = artifact.read(Path(one.path)).hash
    if found != one.hash:
        raise ConfigError(f"{one.path}: the artifact there is {found} now, not {one.hash}; put it back")
    return one


def _with(deployment: Deployment, request: Request, about: ModelReference, **changes: Any) -> Deployment:
    change = Change(time.time_ns(), request.action, about, request.because)
    return msgspec.structs.replace(deployment, history=[*deployment.history, change], **changes)

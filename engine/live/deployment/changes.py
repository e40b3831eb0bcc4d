"""Changes of what a trader forecasts with, while it trades: asked of it, or written down for its next start."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import msgspec

from engine.config import Config
from engine.live.deployment import deployment as deployments
from engine.live.deployment.deployment import Act, Deployment, Request, Trial
from engine.live.safety.state import StateFolder
from market.errors import ConfigError

_ANSWER_S = 30.0


class Changed(msgspec.Struct, frozen=True):
    """A change that was made: what the trader says of it, and the deployment that stands now."""

    text: str
    deployment: Deployment


class Standing(msgspec.Struct, frozen=True):
    """What trades and what runs in the shadow, whether a trader runs, and how the two compare, where that is known."""

    deployment: Deployment
    running: bool
    trial: Trial | None


def trader_folder(config: Config, state: Path | None, *, paper: bool) -> Path:
    """The folder of the trader that is meant: named, of the paper run that goes on, or `live.state`.

    Raises
    ------
    ConfigError
        No paper run goes on, or several do.

    """
    if state is not None:
        return state
    if not paper:
        return Path(config.live.state)
    found = []
    for path in sorted(Path(config.runs.path).glob(f".*-paper-*/{deployments.DEPLOYMENT}")):
        deployment = deployments.read_deployment(path.parent)
        if deployment is not None and deployments.runs(deployment):
            found.append(path.parent)
    if not found:
        raise ConfigError(f"{config.runs.path}: no paper run that forecasts and keeps a journal goes on there")
    if len(found) > 1:
        raise ConfigError(f"several paper runs go on, name one with --state: {', '.join(map(str, found))}")
    return found[0]


def change(folder: Path, action: Act, named: Path | None = None, because: str = "", *, anyway: bool = False) -> Changed:
    """Ask the trader of a folder for a change; while none runs, for its next start.

    Parameters
    ----------
    folder : Path
    action : Act
    named : Path, optional
        The artifact that is to run in the shadow.
    because : str
        Kept in the history of changes.
    anyway : bool
        Even if the comparison is against it.

    Raises
    ------
    ConfigError
        It was refused, or the trader does not answer.

    """
    deployment = _lineup(folder)
    shadow = deployments.member(named) if named is not None else None
    request = Request(secrets.token_hex(8), action, shadow, anyway, because)
    text = _ask(folder, deployment, request) if deployments.runs(deployment) else _at_rest(folder, request)
    return Changed(text, _lineup(folder))


def standing(folder: Path) -> Standing:
    """What trades, what runs in the shadow, and how they compare.

    Raises
    ------
    ConfigError
        No trader that forecasts has run there.

    """
    deployment = _lineup(folder)
    trial = deployments.last_trial(folder) if deployment.shadow is not None else None
    if trial is not None and deployment.shadow is not None and trial.shadow.hash != deployment.shadow.hash:
        trial = None
    return Standing(deployment, deployments.runs(deployment), trial)


def _lineup(folder: Path) -> Deployment:
    found = deployments.read_deployment(folder)
    if found is None:
        raise ConfigError(f"{folder}: no trader that forecasts has run there; start it first, or name its --state")
    return found


def _ask(folder: Path, deployment: Deployment, request: Request) -> str:
    deployments.ask(folder, request)
    deadline = time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        answer = deployments.answered(folder, request.id)
        if answer is not None:
            if not answer.done:
                raise ConfigError(answer.text)
            return answer.text
        if not deployments.runs(deployment):
            break
        time.sleep(0.05)
    deployments.withdraw(folder, request)
    raise ConfigError(
        f"{folder}: the trader (process {deployment.pid}) did not answer; see `cmm models shadow` for what holds now"
    )


def _at_rest(folder: Path, request: Request) -> str:
    if not (folder / "store.sqlite").exists():
        raise ConfigError(f"{folder}: the paper run there has ended")
    state = StateFolder(folder)
    state.take()
    try:
        deployment = deployments.changed(_lineup(folder), request, deployments.last_trial(folder))
        deployments.write_deployment(folder, deployment)
    finally:
        state.release()
    beside = f"{deployment.shadow.hash} runs" if deployment.shadow is not None else "nothing runs"
    return f"no trader runs: at its next start {deployment.trading.hash} trades, and {beside} in its shadow"

"""The trader as the drill starts it: `run_live` itself, with a model that goes wrong on demand.

The file `model-fault` in the state folder names what the model does from then on.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.config.kept import read_kept
from engine.live.errors import Exit, HaltedError
from engine.live.trading.checklist import Item
from engine.live.trading.live_run import run_live
from engine.plan import Plan
from market.errors import ConfigError
from models.ensemble.predictor import Forecast, Predictor

_SLOW_S = 0.08


class FaultyPredictor(Predictor):
    """A predictor that can be told to fail."""

    def __init__(self, folder: Path, trigger: Path) -> None:
        super().__init__(folder)
        self._trigger = trigger

    def predict(self) -> Forecast | None:
        forecast = super().predict()
        if forecast is None or not self._trigger.exists():
            return forecast
        fault = self._trigger.read_text()
        if fault == "nan":
            return None
        if fault == "slow":
            time.sleep(_SLOW_S)
        elif fault == "unsure":
            return forecast._replace(confidence=0.0)
        elif fault == "wild":
            return forecast._replace(mid_change_ticks=1e6)
        elif fault == "raises":
            raise RuntimeError("the model failed, as asked to")
        return forecast


def _log(items: list[Item]) -> None:
    for item in items:
        print("ok" if item.holds else "NO", item.name, item.text, sep="  ", file=sys.stderr)


def main(settings: str, instrument: str) -> int:
    """Entry of the process: 2 for a refused start, else what `cmm live` returns."""
    config = read_kept(Path(settings).read_bytes())
    trigger = Path(config.live.state) / "model-fault"

    def load(plan: Plan) -> Predictor | None:
        return FaultyPredictor(plan.artifact, trigger) if plan.artifact is not None else None

    try:
        report = run_live(config, instrument, _log, load)
    except HaltedError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(Exit.HALTED)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(Exit.REFUSED)
    with suppress(OSError):  # where the disk is full
        print(msgspec.json.encode(report).decode(), flush=True)
    return report.exit


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

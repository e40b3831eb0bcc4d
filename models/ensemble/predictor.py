"""Runs an artifact: the compiled graph, a row at a time or many, with a golden check at load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.ensemble import artifact
from models.ensemble.forward import OUTPUTS, Forward
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.errors import ModelError

if TYPE_CHECKING:
    from models.ensemble.fusion import Fusion
    from models.ensemble.recalibrate import Recalibrator

_TOLERANCE = 1e-4


class Forecast(NamedTuple):
    """What the ensemble expects over its horizon."""

    mid_change_ticks: float
    spread_ticks: float
    log_volume: float
    confidence: float
    """Agreement of the students on the mid change, in (0, 1]."""


class Predictor:
    """An artifact ready to forecast; loading verifies it.

    Parameters
    ----------
    folder : Path
    recalibrate : RecalibrateConfig or None
        Refit the fusion while running; see `recalibrator`.

    Raises
    ------
    ModelError
        The artifact is missing, damaged, or does not give its golden output.

    """

    def __init__(self, folder: Path, recalibrate: RecalibrateConfig | None = None) -> None:
        self.manifest = artifact.read(folder)
        self.features: NDArray[np.float32] = np.zeros((1, len(self.manifest.spec.names)), np.float32)
        self._forward = Forward(folder / artifact.GRAPH)
        if self._forward.features != self.features.shape[1]:
            raise ModelError(f"{folder}: the graph does not take the features it names; train the artifact again")
        self._output = np.zeros((1, OUTPUTS), np.float32)
        self._low = np.asarray(self.manifest.feature_low, np.float32)
        self._high = np.asarray(self.manifest.feature_high, np.float32)
        self._folder = folder
        self._fusion: Fusion | None = None
        self._check_golden(folder)
        self.recalibrator: Recalibrator | None = None
        if recalibrate is not None and recalibrate.enabled:
            self._recalibrate(folder, recalibrate)

    def predict(self) -> Forecast | None:
        """Forecast from `features (1, features)`, written by the caller; None if it is not finite."""
        self._forward.run(self.features, self._output)
        mid, spread, volume, confidence, _, _ = self._output[0].tolist()
        if not (mid - mid == 0.0 and spread - spread == 0.0 and volume - volume == 0.0):
            return None
        return Forecast(mid, spread, volume, confidence)

    def predict_rows(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Forecasts of many rows, (rows, 4), to the bit those that `predict` gives; NaN where it gives None."""
        out = np.empty((len(features), OUTPUTS), np.float32)
        self._forward.run(np.ascontiguousarray(features, np.float32), out)
        forecasts = out[:, : len(Forecast._fields)]
        forecasts[~np.isfinite(forecasts[:, :3]).all(1)] = np.nan
        return forecasts

    def watch(self) -> None:
        """From now on `closeness` can be asked for; nobody pays for it before. Reads from disk."""
        from models.ensemble.parameters import Calibration

        if self._fusion is None:
            self._fusion = Calibration.load(self._folder / artifact.FUSION).fusion

    @property
    def members(self) -> NDArray[np.float32]:
        """Centred forecasts (tasks, students a task) of the last run, standardised."""
        return self._forward.members

    def closeness(self) -> NDArray[np.float64]:
        """Each student's closeness to the consensus in the last run (tasks, students a task), in (0, 1].

        c_i / g_i of `fusion`, with the artifact's own h. `watch` first.
        """
        if self._fusion is None:
            raise ValueError("nobody watches: call watch() first")
        result: NDArray[np.float64] = 1.0 / self._fusion.discount(self.members.astype(np.float64)[None])[0]
        return result

    def remember(self, ts_ns: int, regime: int) -> None:
        """After `predict`: give the recalibrator what the students said; call it only if there is one."""
        r = self.recalibrator
        if r is not None and r.is_due(ts_ns):
            r.sample(ts_ns, self.features[0], self._forward.known, regime)

    def outside(self) -> NDArray[np.bool_]:
        """Which features (features,) lie outside the range seen in training (widened by half of it)."""
        x = self.features[0]
        result: NDArray[np.bool_] = (x < self._low) | (x > self._high)
        return result

    def outside_rows(self, features: NDArray[np.float32]) -> NDArray[np.int16]:
        """How many features of each row (rows, features) do, (rows,)."""
        count: NDArray[np.int16] = ((features < self._low) | (features > self._high)).sum(1, dtype=np.int16)
        return count

    def _recalibrate(self, folder: Path, config: RecalibrateConfig) -> None:
        from models.ensemble.parameters import Calibration
        from models.ensemble.recalibrate import Recalibrator

        calibration = Calibration.load(folder / artifact.FUSION)
        self.recalibrator = Recalibrator(calibration, config, self.manifest.spec, self._forward.move)

    def _check_golden(self, folder: Path) -> None:
        golden = self.manifest.golden
        self.features[0] = golden.features
        self._forward.run(self.features, self._output)
        error = np.abs(self._output[0] - np.asarray(golden.output, np.float32))
        if not (error <= _TOLERANCE * (1.0 + np.abs(np.asarray(golden.output)))).all():
            raise ModelError(f"{folder}: the graph does not give its golden output; train the artifact again")
        self.features[0] = 0.0


def run_compiled(graph: Path, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs (rows, 6) of a graph for features (rows, features), by the rule that forecasts."""
    out = np.empty((len(features), OUTPUTS), np.float32)
    Forward(graph).run(np.ascontiguousarray(features, np.float32), out)
    return out


def run_graph(graph: Path, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same by ONNX Runtime, which reads the graph as others would."""
    session = _session(graph)
    result: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(features)})[0]
    return result


def _session(graph: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a type of its own for each fault
        raise ModelError(f"{graph}: not a graph that ONNX Runtime can load ({str(error)[:80]})") from error

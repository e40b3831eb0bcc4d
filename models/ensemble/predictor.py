"""Runs an artifact: ONNX Runtime on one thread, input and output bound once, golden check at load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.ensemble import artifact
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.errors import ModelError

if TYPE_CHECKING:
    from models.ensemble.fusion import Fusion
    from models.ensemble.recalibrate import Recalibrator

_TOLERANCE = 1e-4
_OUTPUTS = 6


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
        self._session = _session(folder / artifact.GRAPH)
        self.features: NDArray[np.float32] = np.zeros((1, len(self.manifest.spec.names)), np.float32)
        output = np.zeros((1, _OUTPUTS), np.float32)
        self._input_value = ort.OrtValue.ortvalue_from_numpy(self.features)  # aliases the array
        self._output_value = ort.OrtValue.ortvalue_from_numpy(output)
        self._bound: list[ort.OrtValue] = []
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(self._session.get_inputs()[0].name, self._input_value)
        self._binding.bind_ortvalue_output(self._session.get_outputs()[0].name, self._output_value)
        self._low = np.asarray(self.manifest.feature_low, np.float32)
        self._high = np.asarray(self.manifest.feature_high, np.float32)
        self._members: ort.OrtValue | None = None
        self._folder = folder
        self._fusion: Fusion | None = None
        self._known: ort.OrtValue | None = None
        self._check_golden(folder)
        self.recalibrator: Recalibrator | None = None
        if recalibrate is not None and recalibrate.enabled:
            self._recalibrate(folder, recalibrate)

    def predict(self) -> Forecast | None:
        """Forecast from `features (1, features)`, written by the caller; None if it is not finite."""
        self._session.run_with_iobinding(self._binding)
        mid, spread, volume, confidence, _, _ = self._output_value.numpy()[0].tolist()
        if not (mid - mid == 0.0 and spread - spread == 0.0 and volume - volume == 0.0):
            return None
        return Forecast(mid, spread, volume, confidence)

    def watch(self) -> None:
        """From now on keep each student's forecast; nobody pays for it before. Reads from disk."""
        from models.ensemble.parameters import Calibration

        if self._members is None:
            self._fusion = Calibration.load(self._folder / artifact.FUSION).fusion
            self._members = self._bind_output(1)

    @property
    def members(self) -> NDArray[np.float32]:
        """Centred forecasts (tasks, students a task) of the last run, standardised; `watch` first."""
        if self._members is None:
            raise ValueError("nobody watches: call watch() first")
        result: NDArray[np.float32] = self._members.numpy()[0]
        return result

    def closeness(self) -> NDArray[np.float64]:
        """Each student's closeness to the consensus in the last run (tasks, students a task), in (0, 1].

        c_i / g_i of `fusion`, with the artifact's own h. `watch` first.
        """
        members = self.members.astype(np.float64)
        assert self._fusion is not None
        result: NDArray[np.float64] = 1.0 / self._fusion.discount(members[None])[0]
        return result

    def remember(self, ts_ns: int, regime: int) -> None:
        """After `predict`: give the recalibrator what the students said; call it only if there is one."""
        if self.recalibrator is not None and self._known is not None:
            self.recalibrator.sample(ts_ns, self.features[0], self._known.numpy()[0], regime)

    def outside(self) -> NDArray[np.bool_]:
        """Which features (features,) lie outside the range seen in training (widened by half of it)."""
        x = self.features[0]
        result: NDArray[np.bool_] = (x < self._low) | (x > self._high)
        return result

    def _recalibrate(self, folder: Path, config: RecalibrateConfig) -> None:
        from models.ensemble.parameters import Calibration
        from models.ensemble.recalibrate import Recalibrator

        calibration = Calibration.load(folder / artifact.FUSION)
        self.recalibrator = Recalibrator(calibration, config, self.manifest.spec)
        for name, array in self.recalibrator.parameters.items():
            value = ort.OrtValue.ortvalue_from_numpy(array)
            self._bound.append(value)
            self._binding.bind_ortvalue_input(name, value)
        self._known = self._bind_output(2)

    def _bind_output(self, index: int) -> ort.OrtValue:
        output = self._session.get_outputs()[index]
        shape = [1, *output.shape[1:]]
        value = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
        self._binding.bind_ortvalue_output(output.name, value)
        return value

    def _check_golden(self, folder: Path) -> None:
        golden = self.manifest.golden
        self.features[0] = golden.features
        self._session.run_with_iobinding(self._binding)
        error = np.abs(self._output_value.numpy()[0] - np.asarray(golden.output, np.float32))
        if not (error <= _TOLERANCE * (1.0 + np.abs(np.asarray(golden.output)))).all():
            raise ModelError(f"{folder}: the graph does not give its golden output; train the artifact again")
        self.features[0] = 0.0


def run_graph(graph: Path, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs (rows, 6) of a graph for features (rows, features)."""
    session = _session(graph)
    result: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(features)})[0]
    return result


def run_rows(graph: Path, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """As `run_graph`, one row at a time."""
    session = _session(graph)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in np.ascontiguousarray(features)])


def _session(graph: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a type of its own for each fault
        raise ModelError(f"{graph}: not a graph that ONNX Runtime can load ({str(error)[:80]})") from error

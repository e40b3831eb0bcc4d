"""Runs an artifact: ONNX Runtime on one thread, input and output bound once, golden check at load."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models import artifact
from models.errors import ModelError

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

    Raises
    ------
    ModelError
        The artifact is missing, damaged, or does not give its golden output.

    """

    def __init__(self, folder: Path) -> None:
        self.manifest = artifact.read(folder)
        self._session = _session(folder / artifact.GRAPH)
        self.features: NDArray[np.float32] = np.zeros((1, len(self.manifest.spec.names)), np.float32)
        self._output = np.zeros((1, _OUTPUTS), np.float32)
        binding = self._session.io_binding()
        source = self._session.get_inputs()[0].name
        sink = self._session.get_outputs()[0].name
        self._input_value = ort.OrtValue.ortvalue_from_numpy(self.features)  # aliases the array
        self._output_value = ort.OrtValue.ortvalue_from_numpy(self._output)
        binding.bind_ortvalue_input(source, self._input_value)
        binding.bind_ortvalue_output(sink, self._output_value)
        self._binding = binding
        self._low = np.asarray(self.manifest.feature_low, np.float32)
        self._high = np.asarray(self.manifest.feature_high, np.float32)
        self._check_golden(folder)

    def predict(self) -> Forecast | None:
        """Forecast from `features (1, features)`, written by the caller; None if it is not finite."""
        self._session.run_with_iobinding(self._binding)
        mid, spread, volume, confidence, _, _ = self._output_value.numpy()[0].tolist()
        if not (mid - mid == 0.0 and spread - spread == 0.0 and volume - volume == 0.0):
            return None
        return Forecast(mid, spread, volume, confidence)

    def outside(self) -> int:
        """Count the features outside the range seen in training (widened by half of it)."""
        x = self.features[0]
        return int(((x < self._low) | (x > self._high)).sum())

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


def _session(graph: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a type of its own for each fault
        raise ModelError(f"{graph}: not a graph that ONNX Runtime can load ({str(error)[:80]})") from error

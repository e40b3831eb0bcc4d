"""The ensemble as ONE graph: scaling, all students, kernel, consensus, fusion, natural units."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.ensemble.parameters import Calibration, graph_parameters
from models.features.scaler import CLIP, Scaler
from models.training.students import Students

OPSET = 18
INPUT, OUTPUTS = "features", ("forecast", "members", "known")
OVERRIDABLE = ("readout", "base", "bandwidth", "weight", "inverse_total", "units", "offset")


class Ensemble(nn.Module):  # type: ignore[misc]
    """Raw features (batch, features) to three outputs.

    forecast (batch, 6): mid change in ticks, spread in ticks, log1p volume, and the confidence of each;
    members (batch, 3, n): each student's centred forecast m, standardised; known (batch, students, width + 1 + D):
    latents, linear path and kernel features, from which the fusion can be refitted.
    """

    def __init__(self, students: Students, scaler: Scaler, calibration: Calibration) -> None:
        super().__init__()
        fusion = calibration.fusion
        self.tasks, self.n = fusion.weight.shape
        self.students, self.width = students.count, students.width

        def constant(name: str, value: NDArray[np.floating]) -> None:
            self.register_buffer(name, torch.from_numpy(np.asarray(value, np.float32)).contiguous())

        mean, inverse = scaler.mean.astype(np.float64), 1.0 / scaler.deviation.astype(np.float64)
        weights, biases = students.hidden_layer()
        hidden = weights.double().numpy()
        constant("mean", mean)
        constant("limit", CLIP / inverse)
        straight = np.repeat(students.linear.double().numpy(), self.n, 1)
        layer = np.concatenate([hidden, straight], 1)
        constant("layer", inverse[:, None] * layer)
        constant("layer_bias", np.concatenate([biases.double().numpy(), np.zeros(self.students)]))
        constant("projection", fusion.projection / fusion.scale[:, None])
        constant("phase", fusion.phase)
        for name, value in graph_parameters(calibration, fusion).items():
            constant(name, value)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Few nodes rather than few multiplications: a node costs half a microsecond whatever it does. But the
        mean is subtracted first: folded into the bias it would cancel and cost digits."""
        clipped = torch.minimum(torch.maximum(x - self.mean, -self.limit), self.limit)
        wide, straight = (clipped @ self.layer + self.layer_bias).split([self.students * self.width, self.students], 1)
        z = torch.relu(wide).view(-1, self.students, self.width)
        known = torch.cat([z, straight[..., None], torch.cos(z @ self.projection + self.phase)], -1)
        m = ((known * self.readout).sum(-1) + self.base).view(-1, self.tasks, self.n)
        ranked = torch.topk(m, self.n // 2 + 1, dim=-1).values  # torch.median does not convert
        median = ranked[..., -1:] if self.n % 2 else 0.5 * (ranked[..., -1:] + ranked[..., -2:-1])
        distance = m - median
        c = self.weight / (1.0 + distance * distance * self.bandwidth)
        agreed = c.sum(-1)
        fused = (c * m).sum(-1) / agreed
        factors, exponents = (torch.cat([fused, x[:, -self.tasks :]], 1) @ self.units + self.offset).chunk(2, 1)
        return torch.cat([factors * torch.exp(exponents), agreed * self.inverse_total], 1), m, known


def export(ensemble: Ensemble, features: int, path: Path) -> None:
    """Write the graph as ONNX; batch size stays free."""
    ensemble.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of every optional package
    example = (torch.zeros(2, features),)  # a batch of one would become static
    torch.onnx.export(
        ensemble,
        example,
        str(path),
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(path)
    _strip(model)
    _open(model, OVERRIDABLE)
    onnx.save(model, path)


def _open(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Let a caller override these initialisers: recalibration moves them while the graph runs."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for name in names:
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]))


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes of its own run (stack traces with file paths): the same weights
    give the same bytes wherever they were trained."""
    graph = model.graph
    parts = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]

"""The ensemble as ONE graph: scaling, all students, kernel, consensus, fusion, natural units."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.fusion import Fusion
from models.students import Scaler, Students

OPSET = 18
INPUT, OUTPUT = "features", "forecast"
_CLIP = 6.0  # standard deviations, as `Scaler.features`


class Ensemble(nn.Module):  # type: ignore[misc]
    """Raw features (batch, features) to (batch, 6): mid change in ticks, spread in ticks, log1p volume, and
    the confidence of each."""

    def __init__(self, students: Students, scaler: Scaler, fusion: Fusion) -> None:
        super().__init__()
        n = fusion.weight.shape[1]
        self.students, self.n = students.count, n
        self.tasks, self.width = len(fusion.mean), students.width

        def constant(name: str, value: NDArray[np.floating]) -> None:
            self.register_buffer(name, torch.from_numpy(np.asarray(value, np.float32)).contiguous())

        mean, inverse = scaler.mean.astype(np.float64), 1.0 / scaler.deviation.astype(np.float64)
        hidden = students.hidden.detach().double().numpy()
        constant("low", mean - _CLIP / inverse)
        constant("high", mean + _CLIP / inverse)
        constant("hidden", inverse[:, None] * hidden)
        constant("hidden_bias", students.hidden_bias.detach().double().numpy() - (mean * inverse) @ hidden)
        constant("projection", fusion.projection / fusion.scale[:, None])
        constant("phase", fusion.phase)
        beta = fusion.beta * np.sqrt(2.0 / len(fusion.phase))
        constant("readout", np.concatenate([students.readout.detach().double().numpy(), beta], 1))
        base = students.readout_bias.detach().double().numpy() + fusion.offset - np.repeat(fusion.mean, n)
        constant("base", base)
        constant("bandwidth", 1.0 / fusion.bandwidth[:, None])
        constant("weight", fusion.weight)
        constant("inverse_total", 1.0 / fusion.weight.sum(-1))
        deviation = scaler.target_deviation.astype(np.float64)
        scale, shift = fusion.weight.sum(-1) * deviation, fusion.mean * deviation + scaler.target_mean
        # (fused, context) to factors and exponents: mid e^c, 1 e^(spread + c), (volume + c) e^0
        units, offset = np.zeros((6, 6)), np.array([shift[0], 1.0, shift[2], 0.0, shift[1], 0.0])
        units[0, 0], units[2, 2], units[1, 4] = scale[0], scale[2], scale[1]
        units[5, 2] = units[3, 3] = units[4, 4] = 1.0
        constant("units", units)
        constant("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        """Few nodes rather than few multiplications: a node costs half a microsecond whatever it does."""
        clipped = torch.minimum(torch.maximum(x, self.low), self.high)
        z = torch.relu(clipped @ self.hidden + self.hidden_bias).view(-1, self.students, self.width)
        known = torch.cat([z, torch.cos(z @ self.projection + self.phase)], -1)
        m = ((known * self.readout).sum(-1) + self.base).view(-1, self.tasks, self.n)
        ranked = torch.topk(m, self.n // 2 + 1, dim=-1).values  # torch.median does not convert
        median = ranked[..., -1:] if self.n % 2 else 0.5 * (ranked[..., -1:] + ranked[..., -2:-1])
        distance = m - median
        c = self.weight / (1.0 + distance * distance * self.bandwidth)
        agreed = c.sum(-1)
        fused = (c * m).sum(-1) / agreed
        factors, exponents = (torch.cat([fused, x[:, -self.tasks :]], 1) @ self.units + self.offset).chunk(2, 1)
        return torch.cat([factors * torch.exp(exponents), agreed * self.inverse_total], 1)


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
        output_names=[OUTPUT],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(path)
    _strip(model)
    onnx.save(model, path)


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes of its own run (stack traces with file paths): the same weights
    give the same bytes wherever they were trained."""
    graph = model.graph
    parts = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]

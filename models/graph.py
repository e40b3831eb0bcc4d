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


class Ensemble(nn.Module):  # type: ignore[misc]
    """Raw features (batch, features) to (batch, 6): mid change in ticks, spread in ticks, log1p volume, and
    the confidence of each."""

    def __init__(self, students: Students, scaler: Scaler, fusion: Fusion) -> None:
        super().__init__()
        n = fusion.weight.shape[1]
        self.students, self.n = students.count, n
        self.tasks, self.width, self.kernel = len(fusion.mean), students.width, len(fusion.phase)

        def constant(name: str, value: NDArray[np.floating] | Tensor) -> None:
            array = (
                value.detach().double()
                if isinstance(value, Tensor)
                else torch.from_numpy(np.asarray(value, np.float64))
            )
            self.register_buffer(name, array.float().contiguous())

        constant("mean", scaler.mean)
        constant("inverse", 1.0 / scaler.deviation)
        constant("hidden", students.hidden)
        constant("hidden_bias", students.hidden_bias)
        constant("readout", students.readout)
        constant("projection", fusion.projection / fusion.scale[:, None])
        constant("phase", fusion.phase)
        constant("beta", fusion.beta * np.sqrt(2.0 / len(fusion.phase)))
        base = students.readout_bias.detach().double().numpy() + fusion.offset - np.repeat(fusion.mean, n)
        constant("base", base)
        constant("bandwidth", 1.0 / fusion.bandwidth[:, None])
        constant("weight", fusion.weight)
        constant("total", fusion.weight.sum(-1))
        constant("inverse_total", 1.0 / fusion.weight.sum(-1))
        deviation = scaler.target_deviation.astype(np.float64)
        constant("out_scale", deviation)
        constant("out_shift", fusion.mean * deviation + scaler.target_mean)

    def forward(self, x: Tensor) -> Tensor:
        scaled = torch.clamp((x - self.mean) * self.inverse, -6.0, 6.0)
        z = torch.relu(scaled @ self.hidden + self.hidden_bias).view(-1, self.students, self.width)
        phi = torch.cos(z @ self.projection + self.phase)
        m = (z * self.readout).sum(-1) + (phi * self.beta).sum(-1) + self.base
        m = m.view(-1, self.tasks, self.n)
        ranked = torch.topk(m, self.n // 2 + 1, dim=-1).values  # torch.median does not convert
        median = ranked[..., -1:] if self.n % 2 else 0.5 * (ranked[..., -1:] + ranked[..., -2:-1])
        distance = m - median
        c = self.weight / (1.0 + distance * distance * self.bandwidth)
        agreed = c.sum(-1)
        fused = self.total * (c * m).sum(-1) / agreed * self.out_scale + self.out_shift
        context = x[:, -self.tasks :]
        mid = fused[:, 0:1] * torch.exp(context[:, 0:1])
        spread = torch.exp(fused[:, 1:2] + context[:, 1:2])
        volume = fused[:, 2:3] + context[:, 2:3]
        return torch.cat([mid, spread, volume, agreed * self.inverse_total], 1)


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

"""Students: small networks, one a cell (task, regime, member), all in one batched tensor.

A student is one hidden layer of `width` units; measured, two layers were no better and cost more.
Order of students: task, then regime, then member: student i serves task i // (regimes x members).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.features.book_features import TASKS
from models.features.dataset import Dataset
from models.features.scaler import Scaler
from models.training.train_config import StudentConfig


class Students(nn.Module):  # type: ignore[misc]
    """Batched one-layer networks beside a linear path: latent relu(x W + b), output x·u + z·v + c.

    u is the task's ridge regression on the training span and stays: what is linear is known in closed
    form, the networks add the rest. With `shared`, all read one hidden layer as wide as all students
    together: one network with a head a task, the baseline of the same size.
    """

    def __init__(self, features: int, config: StudentConfig, hints: int = 0, *, shared: bool = False) -> None:
        super().__init__()
        self.shared = shared
        self.count = len(TASKS) if shared else config.count
        self.width = config.width * config.count if shared else config.width
        scale = (2.0 / features) ** 0.5 * 0.7
        hidden = self.width if shared else self.count * self.width
        self.hidden = nn.Parameter(torch.randn(features, hidden) * scale)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.readout = nn.Parameter(torch.zeros(self.count, self.width))
        self.readout_bias = nn.Parameter(torch.zeros(self.count))
        self.register_buffer("linear", torch.zeros(features, len(TASKS)))
        self.hint = nn.Parameter(torch.randn(self.count, self.width, hints) * 0.1) if hints else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (batch, features) to outputs (batch, students) and latents (batch, students, width)."""
        latent = torch.relu(x @ self.hidden + self.hidden_bias)
        straight = (x @ self.linear).repeat_interleave(self.count // len(TASKS), 1)
        if self.shared:
            latent = latent[:, None, :].expand(-1, self.count, -1)
        else:
            latent = latent.view(-1, self.count, self.width)
        return straight + (latent * self.readout).sum(-1) + self.readout_bias, latent

    def hidden_layer(self) -> tuple[Tensor, Tensor]:
        """Weights (features, students x width) and biases, a shared layer once for each student."""
        copies = self.count if self.shared else 1
        return self.hidden.detach().repeat(1, copies), self.hidden_bias.detach().repeat(copies)


def outputs(students: Students, scaler: Scaler, data: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Student outputs (rows, students) and latents (rows, students, width), in float64."""
    with torch.no_grad():
        y, z = students(torch.from_numpy(scaler.features(data)))
    return y.double().numpy(), z.double().numpy()

"""The teacher: a language model that reads windows of the order book as patches.

A window (W snapshots x F features) becomes W / P patches, each through one linear embedder into the
model's token space (GPT4TS, Zhou 2023; Time-LLM, Jin 2024), behind a prefix; the last token's state
feeds one linear head a task. The backbone stays frozen but for LoRA (Hu 2021). A linear skip from the
last snapshot to the heads is their ridge regression and stays so: the backbone adds what is not linear,
each task as much of it as helps on the end of the training span, which it has not seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import ModelError
from models.features.book_features import TASKS
from models.training.backbone import attach_lora, load, tokens
from models.training.train_config import TeacherConfig

if TYPE_CHECKING:
    from transformers import DynamicCache

_NO_BACKBONE_WIDTH = 256


class Teacher(nn.Module):  # type: ignore[misc]
    """Windows (batch, window, features) to standardised forecasts (batch, 3) and states of the last token.

    Parameters
    ----------
    config : TeacherConfig
    features : int
    instruments : sequence of str
        Named in the prompts.
    horizon_s : float
    cache : Path
        Where converted language models are kept.

    """

    def __init__(
        self, config: TeacherConfig, features: int, instruments: Sequence[str], horizon_s: float, cache: Path
    ) -> None:
        super().__init__()
        if config.window % config.patch:
            raise ModelError(
                f"train.teacher.window {config.window} is no multiple of train.teacher.patch {config.patch}"
            )
        self.patch = config.patch
        self.instruments = sorted(instruments)
        self.lora = config.lora_rank > 0 and config.backbone != "none"
        self._prefixes: list[tuple[Tensor, Tensor]] | None = None
        self.backbone: nn.Module | None = None
        inputs = config.patch * features
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            if config.backbone == "none":
                width, scale = _NO_BACKBONE_WIDTH, 1.0
            else:
                language_model = load(config, cache)
                table = language_model.get_input_embeddings().weight
                width, scale = table.shape[1], float(table.pow(2).mean().sqrt())
                texts = [_prompt(name, horizon_s) for name in self.instruments]
                self.register_buffer("ids", tokens(config, texts, cache), persistent=False)
                if self.lora:
                    language_model = attach_lora(language_model, config.lora_rank, config.model)
                self.backbone = language_model
            self.embedder = nn.Linear(inputs, width)
            nn.init.normal_(self.embedder.weight, 0.0, scale / inputs**0.5)
            nn.init.zeros_(self.embedder.bias)
            self.head = nn.Linear(width, len(TASKS))
            self.skip = nn.Linear(features, len(TASKS), bias=False)
            for part in (self.head.weight, self.head.bias, self.skip.weight):
                nn.init.zeros_(part)
            self.skip.requires_grad_(False)
            self.gain = nn.Parameter(torch.ones(len(TASKS)), requires_grad=False)

    def forward(self, x: Tensor, names: Sequence[str], *, states: bool = False) -> tuple[Tensor, Tensor | None]:
        """Forecasts (batch, 3); with `states` also the last token's states (batch, layers + 1, width)."""
        embedded = self.embedder(x.reshape(len(x), x.shape[1] // self.patch, -1))
        if self.backbone is None:
            state = torch.relu(embedded).mean(1) + torch.relu(embedded[:, -1])
            return self._forecast(state, x), torch.stack([embedded[:, -1], state], 1) if states else None
        rows = torch.tensor([self.instruments.index(name) for name in names], device=x.device)
        if self.lora:  # the update changes the prefix too: it has to be run
            prefix = self.backbone.get_input_embeddings()(self.ids[rows]).to(embedded.dtype)
            out = self.backbone(
                inputs_embeds=torch.cat([prefix, embedded], 1), use_cache=False, output_hidden_states=states
            )
        else:
            out = self.backbone(
                inputs_embeds=embedded,
                past_key_values=self._cache(self.backbone, rows),
                use_cache=True,
                output_hidden_states=states,
            )
        state = out.last_hidden_state[:, -1].to(self.head.weight.dtype)
        return self._forecast(state, x), torch.stack([h[:, -1] for h in out.hidden_states], 1) if states else None

    def _forecast(self, state: Tensor, x: Tensor) -> Tensor:
        return self.skip(x[:, -1]) + self.gain * self.head(state)

    def _cache(self, backbone: nn.Module, rows: Tensor) -> DynamicCache:
        """Keys and values of the frozen backbone's prefixes, run once."""
        from transformers import DynamicCache

        if self._prefixes is None:
            with torch.no_grad():
                cache = backbone(input_ids=self.ids, use_cache=True).past_key_values
            self._prefixes = [(layer.keys.detach(), layer.values.detach()) for layer in cache.layers]
        cache = DynamicCache(config=backbone.config)
        for i, (keys, values) in enumerate(self._prefixes):
            cache.update(keys[rows], values[rows], i)
        return cache

    def learnt(self) -> dict[str, Tensor]:
        """What training changes: embedder, heads, LoRA; the backbone is found again by its name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def kept(self) -> dict[str, Tensor]:
        """What has to be saved: `learnt`, the skip and its gain."""
        return {**self.learnt(), "skip.weight": self.skip.weight, "gain": self.gain}


def _prompt(instrument: str, horizon_s: float) -> str:
    return (
        f"Limit order book of {instrument}, one token for each group of snapshots. "
        f"Forecast the mid price change, the spread and the traded volume of the next {horizon_s:g} seconds:"
    )


def accelerator(config: TeacherConfig) -> Accelerator:
    """Device and precision: one code path for CPU fp32, GPU bf16 and several GPUs (`accelerate launch`).

    Raises
    ------
    ModelError
        A GPU was asked for and there is none.

    """
    if config.device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"train.teacher.device {config.device}: expected auto, cpu or cuda")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("train.teacher.device is cuda, but there is no GPU here; set it to auto or cpu")
    cpu = config.device == "cpu" or not torch.cuda.is_available()
    half = config.dtype == "bfloat16" or (config.dtype == "auto" and not cpu)
    return Accelerator(cpu=cpu, mixed_precision="bf16" if half else "no")


def forecast(
    model: nn.Module, x: NDArray[np.float32], names: Sequence[str], config: TeacherConfig, *, states: bool
) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
    """Standardised forecasts (windows, 3) and RMS-normalised states (windows, layers, width) as fp16, in batches."""
    device = next(model.parameters()).device
    answers, kept = [], []
    with torch.inference_mode(), _autocast(device, config):
        for start in range(0, len(x), config.batch * 4):
            rows = slice(start, start + config.batch * 4)
            y, h = model(torch.from_numpy(x[rows]).to(device), names[rows], states=states)
            answers.append(y.float().cpu().numpy())
            if h is not None:  # normalised first: raw states overflow fp16
                h = h[:, config.layers or slice(None)].float()
                h = h / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
                kept.append(h.to(torch.float16).cpu().numpy())
    return np.concatenate(answers), np.concatenate(kept) if kept else None


def _autocast(device: torch.device, config: TeacherConfig) -> AbstractContextManager[None]:
    half = config.dtype == "bfloat16" or (config.dtype == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()

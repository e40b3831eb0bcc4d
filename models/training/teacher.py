"""The teacher: a language model that reads windows of the order book as patches.

A window (W snapshots x F features) becomes W / P patches, each through one linear embedder into the
model's token space (GPT4TS, Zhou 2023; Time-LLM, Jin 2024), behind a prefix; the last token's state
feeds one linear head a task. The body stays frozen but for LoRA (Hu 2021). A linear skip from the
last snapshot to the heads is their ridge regression and stays so: the body adds what is not linear,
each task as much of it as helps on the end of the training span, which the body has not seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import ModelError
from models.features.book_features import TASKS
from models.features.scaler import Scaler, linear_fit
from models.features.splits import Part
from models.training import body, store, windows
from models.training.train_config import TeacherConfig

type Report = Callable[[str], None]

_WARM_UP_STEPS = 20
_LEAST_RATE = 0.03
_NO_BODY_WIDTH = 256
_CHUNK = 1024


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
        self.lora = config.lora_rank > 0 and config.body != "none"
        self._prefixes: list[tuple[Tensor, Tensor]] | None = None
        self.body: Any = None
        inputs = config.patch * features
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            if config.body == "none":
                width, scale = _NO_BODY_WIDTH, 1.0
            else:
                language_model = body.load(config, cache)
                table = language_model.get_input_embeddings().weight
                width, scale = table.shape[1], float(table.pow(2).mean().sqrt())
                texts = [_prompt(name, horizon_s) for name in self.instruments]
                self.register_buffer("ids", body.tokens(config, texts, cache), persistent=False)
                self.body = (
                    body.attach_lora(language_model, config.lora_rank, config.model) if self.lora else language_model
                )
            self.embedder = nn.Linear(inputs, width)
            nn.init.normal_(self.embedder.weight, 0.0, scale / inputs**0.5)
            nn.init.zeros_(self.embedder.bias)
            self.head = nn.Linear(width, len(TASKS))
            self.skip = nn.Linear(features, len(TASKS), bias=False)
            for part in (self.head.weight, self.head.bias, self.skip.weight):
                nn.init.zeros_(part)
            self.skip.requires_grad_(False)
            self.gain = nn.Parameter(torch.ones(len(TASKS)), requires_grad=False)

    def forward(self, x: Tensor, names: Sequence[str], states: bool = False) -> tuple[Tensor, Tensor | None]:
        """Forecasts (batch, 3); with `states` also the last token's states (batch, layers + 1, width)."""
        embedded = self.embedder(x.reshape(len(x), x.shape[1] // self.patch, -1))
        if self.body is None:
            state = torch.relu(embedded).mean(1) + torch.relu(embedded[:, -1])
            return self._forecast(state, x), torch.stack([embedded[:, -1], state], 1) if states else None
        rows = torch.tensor([self.instruments.index(name) for name in names], device=x.device)
        if self.lora:  # the update changes the prefix too: it has to be run
            prefix = self.body.get_input_embeddings()(self.ids[rows]).to(embedded.dtype)
            out = self.body(
                inputs_embeds=torch.cat([prefix, embedded], 1), use_cache=False, output_hidden_states=states
            )
        else:
            out = self.body(
                inputs_embeds=embedded, past_key_values=self._cache(rows), use_cache=True, output_hidden_states=states
            )
        state = out.last_hidden_state[:, -1].to(self.head.weight.dtype)
        return self._forecast(state, x), torch.stack([h[:, -1] for h in out.hidden_states], 1) if states else None

    def _forecast(self, state: Tensor, x: Tensor) -> Tensor:
        return self.skip(x[:, -1]) + self.gain * self.head(state)

    def _cache(self, rows: Tensor) -> Any:
        """Keys and values of the frozen body's prefixes, run once."""
        from transformers import DynamicCache

        if self._prefixes is None:
            with torch.no_grad():
                cache = self.body(input_ids=self.ids, use_cache=True).past_key_values
            self._prefixes = [(layer.keys.detach(), layer.values.detach()) for layer in cache.layers]
        cache = DynamicCache(config=self.body.config)
        for i, (keys, values) in enumerate(self._prefixes):
            cache.update(keys[rows], values[rows], i)
        return cache

    def learnt(self) -> dict[str, Tensor]:
        """What training changes: embedder, heads, LoRA; the body is found again by its name."""
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


def train(
    config: TeacherConfig,
    parts: Sequence[Part],
    scaler: Scaler,
    names: Sequence[str],
    horizon_s: float,
    folder: Path,
    report: Report,
) -> Teacher:
    """Teach the teacher, or load it if the folder holds it already.

    Goes on from the last checkpoint after a kill and then ends at the same weights: the order of
    windows is a function of seed and step, and nothing else is random.
    """
    device = accelerator(config)
    model = Teacher(config, len(scaler.mean), names, horizon_s, folder.parent / "bodies")
    final, checkpoint = folder / "teacher.safetensors", folder / "checkpoint.pt"
    if final.exists():
        _restore(model, final)
        return device.prepare(model).eval()  # type: ignore[no-any-return]
    taught, tail = _tail(parts, config.tail)
    available = windows.counts(taught, config.window)
    if sum(available) < config.batch:
        raise ModelError(
            f"only {sum(available)} windows of {config.window} snapshots to teach the teacher; give more days"
        )
    model.skip.weight.data.copy_(torch.from_numpy(linear_fit((p.load() for p in taught), scaler).T.copy()))
    rank, world = device.process_index, device.num_processes
    size = config.batch * world
    plan = [
        windows.steps_per_epoch(available, config.windows, size, config.days_in_memory, (config.seed, epoch))
        for epoch in range(config.epochs)
    ]
    total = sum(plan)
    optimiser = torch.optim.AdamW(_groups(model, config), weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total))
    model, optimiser = device.prepare(model, optimiser)
    bare = device.unwrap_model(model)
    done, running = _resume(checkpoint, bare, optimiser, schedule)
    if done:
        report(f"teacher: goes on at step {done} of {total}")
    model.train()
    first = 0
    for epoch, steps in enumerate(plan):
        skip, first = min(max(done - first, 0), steps), first + steps
        for x, y, who in windows.batches(
            taught, available, scaler, config.window, config.windows, size, config.days_in_memory,
            (config.seed, epoch), skip,
        ):  # fmt: skip
            mine = slice(rank, None, world)
            loss = _step(device, model, optimiser, schedule, x[mine], y[mine], who[mine], config)
            running = loss if running is None else 0.97 * running + 0.03 * loss
            done += 1
            if done % 10 == 0 or done == total:
                report(f"teacher: step {done} of {total}, loss {running:.4f}")
            if done % config.checkpoint_every == 0 and done < total and device.is_main_process:
                _save_checkpoint(checkpoint, bare, optimiser, schedule, done, running)
    bare.gain.data.copy_(torch.from_numpy(_gain(bare, config, tail, scaler)).to(bare.gain.device))
    if device.is_main_process:
        kept = {name: p.detach().float().cpu().numpy() for name, p in bare.kept().items()}
        store.write_arrays(final, kept)
        checkpoint.unlink(missing_ok=True)
    device.wait_for_everyone()
    return model.eval()  # type: ignore[no-any-return]


def forecast(
    model: nn.Module, x: NDArray[np.float32], names: Sequence[str], states: bool, config: TeacherConfig
) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
    """Standardised forecasts (windows, 3) and RMS-normalised states (windows, layers, width) as fp16, in batches."""
    device = next(model.parameters()).device
    answers, kept = [], []
    with torch.inference_mode(), _autocast(device, config):
        for start in range(0, len(x), config.batch * 4):
            rows = slice(start, start + config.batch * 4)
            y, h = model(torch.from_numpy(x[rows]).to(device), names[rows], states)
            answers.append(y.float().cpu().numpy())
            if h is not None:  # normalised first: raw states overflow fp16
                h = h[:, config.layers or slice(None)].float()
                h = h / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
                kept.append(h.to(torch.float16).cpu().numpy())
    return np.concatenate(answers), np.concatenate(kept) if kept else None


def _autocast(device: torch.device, config: TeacherConfig) -> Any:
    half = config.dtype == "bfloat16" or (config.dtype == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()


def _step(
    device: Accelerator,
    model: nn.Module,
    optimiser: Any,
    schedule: Any,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    who: Sequence[str],
    config: TeacherConfig,
) -> float:
    """One update; its batch is split into `accumulate` passes."""
    optimiser.zero_grad()
    whole = 0.0
    bounds = np.linspace(0, len(x), config.accumulate + 1).astype(int)
    for start, stop in pairwise(bounds):
        if stop == start:
            continue
        with device.autocast():
            answer, _ = model(torch.from_numpy(x[start:stop]).to(device.device), who[start:stop])
        target = torch.from_numpy(y[start:stop]).to(device.device)
        loss = nn.functional.huber_loss(answer.float(), target, delta=1.5) * ((stop - start) / len(x))
        device.backward(loss)
        whole += float(loss.detach())
    if not np.isfinite(whole):
        raise ModelError("the teacher's loss is not finite; lower train.teacher.learning_rate or look at the dataset")
    device.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimiser.step()
    schedule.step()
    return whole


def _tail(parts: Sequence[Part], share: float) -> tuple[list[Part], list[Part]]:
    """The parts before and after the time at which this share of all rows is still to come, purged."""
    times = [part.load().ts_ns for part in parts]
    everything = np.sort(np.concatenate(times))
    cut = int(everything[int((1.0 - share) * len(everything))])
    purge = round(parts[0].load().spec.horizon_s * 1e9)
    before, after = [], []
    for part, ts in zip(parts, times, strict=True):
        if ts[0] < cut - purge:
            before.append(Part(part.path, part.start_ns, min(part.stop_ns, cut - purge)))
        if ts[-1] >= cut:
            after.append(Part(part.path, max(part.start_ns, cut), part.stop_ns))
    return before, after


def _gain(model: Teacher, config: TeacherConfig, tail: Sequence[Part], scaler: Scaler) -> NDArray[np.float32]:
    """Least-squares share (tasks,) in [0, 1] of what the body adds to the skip, on windows it has not seen."""
    model.eval()
    available = windows.counts(tail, config.window)
    wanted = windows.shares(available, config.tail_windows)
    moment, square = np.zeros(len(TASKS)), np.full(len(TASKS), 1e-9)
    for part, count in zip(tail, wanted, strict=True):
        day = windows.open_day(part, scaler, config.window)
        ends = windows.spread(day.ends, count)
        for start in range(0, len(ends), _CHUNK):
            rows = ends[start : start + _CHUNK]
            x = day.windows(rows, config.window)
            answer, _ = forecast(model, x, [day.instrument] * len(rows), False, config)
            linear = x[:, -1] @ model.skip.weight.detach().float().cpu().numpy().T
            added, left = answer - linear, day.targets[rows] - linear
            moment, square = moment + (added * left).sum(0), square + (added**2).sum(0)
    gain: NDArray[np.float32] = np.clip(moment / square, 0.0, 1.0).astype(np.float32)
    return gain


def _groups(model: Teacher, config: TeacherConfig) -> list[dict[str, Any]]:
    lora = [p for name, p in model.learnt().items() if "lora_" in name]
    rest = [p for name, p in model.learnt().items() if "lora_" not in name]
    groups = [{"params": rest, "lr": config.learning_rate}]
    return [*groups, {"params": lora, "lr": config.lora_learning_rate}] if lora else groups


def _rate(step: int, total: int) -> float:
    warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
    return float(warm * max(_LEAST_RATE, 0.5 * (1.0 + np.cos(np.pi * step / max(total, 1)))))


def _restore(model: Teacher, path: Path) -> None:
    arrays = store.read_arrays(path)
    for name, parameter in model.kept().items():
        if name not in arrays or arrays[name].shape != tuple(parameter.shape):
            raise ModelError(f"{path}: was made with other settings; delete its folder and train again")
        parameter.data.copy_(torch.from_numpy(arrays[name]))


def _save_checkpoint(path: Path, model: Teacher, optimiser: Any, schedule: Any, step: int, loss: float) -> None:
    state = {
        "model": {name: p.detach() for name, p in model.learnt().items()},
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "step": step,
        "loss": loss,
    }
    with store.beside(path) as temporary, temporary.open("wb") as handle:
        torch.save(state, handle)


def _resume(path: Path, model: Teacher, optimiser: Any, schedule: Any) -> tuple[int, float | None]:
    if not path.exists():
        return 0, None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a type of its own for each fault
        raise ModelError(f"{path}: cannot be read ({str(error)[:80]}); delete it and run the command again") from error
    for name, parameter in model.learnt().items():
        parameter.data.copy_(state["model"][name])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"]), float(state["loss"])

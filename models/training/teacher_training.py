"""Teaches the teacher: batches of windows, checkpoints, and the share of what the backbone adds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import ModelError
from models.features.book_features import TASKS
from models.features.scaler import Scaler, linear_fit
from models.features.splits import Part
from models.training import store, windows
from models.training.backbone import BACKBONES
from models.training.context import Report
from models.training.teacher import Teacher, accelerator, forecast
from models.training.train_config import TeacherConfig
from models.training.windows import Batch, Epoch

_WARM_UP_STEPS = 20
_LEAST_RATE = 0.03
_CHUNK = 1024


class TeacherData(msgspec.Struct, frozen=True):
    """What a teacher is taught on.

    Attributes
    ----------
    parts : sequence of Part
        The training span.
    scaler : Scaler
    instruments : sequence of str
        All that it will be asked about, by name.
    horizon_s : float

    """

    parts: Sequence[Part]
    scaler: Scaler
    instruments: Sequence[str]
    horizon_s: float


class _Optimisation(msgspec.Struct, frozen=True):
    """What moves with each step; `checkpoint` keeps it."""

    device: Accelerator
    model: nn.Module
    bare: Teacher
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def save(self, path: Path, step: int, loss: float) -> None:
        state = {
            "model": {name: p.detach() for name, p in self.bare.learnt().items()},
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": step,
            "loss": loss,
        }
        with store.beside(path) as temporary, temporary.open("wb") as handle:
            torch.save(state, handle)

    def resume(self, path: Path) -> tuple[int, float | None]:
        """Go on from a checkpoint: its step and loss; 0 and None where there is none."""
        if not path.exists():
            return 0, None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises a type of its own for each fault
            raise ModelError(
                f"{path}: cannot be read ({str(error)[:80]}); delete it and run the command again"
            ) from error
        for name, parameter in self.bare.learnt().items():
            parameter.data.copy_(state["model"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        return int(state["step"]), float(state["loss"])


def train(config: TeacherConfig, data: TeacherData, folder: Path, report: Report) -> Teacher:
    """Teach the teacher, or load it if the folder holds it already.

    Goes on from the last checkpoint after a kill and then ends at the same weights: the order of
    windows is a function of seed and step, and nothing else is random.
    """
    device = accelerator(config)
    scaler = data.scaler
    model = Teacher(config, len(scaler.mean), data.instruments, data.horizon_s, folder.parent / BACKBONES)
    final, checkpoint = folder / "teacher.safetensors", folder / "checkpoint.pt"
    if final.exists():
        _restore(model, final)
        return device.prepare(model).eval()  # type: ignore[no-any-return]
    taught, tail = _tail(data.parts, config.tail)
    available = windows.counts(taught, config.window)
    if sum(available) < config.batch:
        raise ModelError(
            f"only {sum(available)} windows of {config.window} snapshots to teach the teacher; give more days"
        )
    model.skip.weight.data.copy_(torch.from_numpy(linear_fit((p.load() for p in taught), scaler).T.copy()))
    rank, world = device.process_index, device.num_processes
    size = config.batch * world
    epochs = [
        Epoch(config.window, config.windows, size, config.days_in_memory, (config.seed, epoch))
        for epoch in range(config.epochs)
    ]
    plan = [epoch.steps(available) for epoch in epochs]
    total = sum(plan)
    optimiser = torch.optim.AdamW(_groups(model, config), weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total))
    model, optimiser = device.prepare(model, optimiser)
    bare: Teacher = device.unwrap_model(model)
    moving = _Optimisation(device, model, bare, optimiser, schedule)
    done, running = moving.resume(checkpoint)
    if done:
        report(f"teacher: goes on at step {done} of {total}")
    model.train()
    first = 0
    for epoch, steps in zip(epochs, plan, strict=True):
        skip, first = min(max(done - first, 0), steps), first + steps
        for batch in windows.batches(taught, available, scaler, epoch, skip):
            loss = _step(moving, batch.rows(slice(rank, None, world)), config.accumulate)
            running = loss if running is None else 0.97 * running + 0.03 * loss
            done += 1
            if done % 10 == 0 or done == total:
                report(f"teacher: step {done} of {total}, loss {running:.4f}")
            if done % config.checkpoint_every == 0 and done < total and device.is_main_process:
                moving.save(checkpoint, done, running)
    bare.gain.data.copy_(torch.from_numpy(_gain(bare, config, tail, scaler)).to(bare.gain.device))
    if device.is_main_process:
        kept = {name: p.detach().float().cpu().numpy() for name, p in bare.kept().items()}
        store.write_arrays(final, kept)
        checkpoint.unlink(missing_ok=True)
    device.wait_for_everyone()
    return model.eval()  # type: ignore[no-any-return]


def _step(moving: _Optimisation, batch: Batch, accumulate: int) -> float:
    """One update; its batch is split into `accumulate` passes."""
    device, model = moving.device, moving.model
    x, y, who = batch
    moving.optimiser.zero_grad()
    whole = 0.0
    bounds = np.linspace(0, len(x), accumulate + 1).astype(int)
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
    moving.optimiser.step()
    moving.schedule.step()
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
    """Least-squares share (tasks,) in [0, 1] of what the backbone adds to the skip, on windows it has not seen."""
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
            answer, _ = forecast(model, x, [day.instrument] * len(rows), config, states=False)
            linear = x[:, -1] @ model.skip.weight.detach().float().cpu().numpy().T
            added, left = answer - linear, day.targets[rows] - linear
            moment, square = moment + (added * left).sum(0), square + (added**2).sum(0)
    gain: NDArray[np.float32] = np.clip(moment / square, 0.0, 1.0).astype(np.float32)
    return gain


def _groups(model: Teacher, config: TeacherConfig) -> list[dict[str, list[Tensor] | float]]:
    lora = [p for name, p in model.learnt().items() if "lora_" in name]
    rest = [p for name, p in model.learnt().items() if "lora_" not in name]
    groups: list[dict[str, list[Tensor] | float]] = [{"params": rest, "lr": config.learning_rate}]
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

"""Stage two: probe the teacher's layers, beside the input alone and models that were taught nothing."""

from __future__ import annotations

import msgspec
from torch import nn

from models.training import store
from models.training.backbone import BACKBONES
from models.training.context import Context
from models.training.probe import Probe, analyse
from models.training.responses import Responses, respond
from models.training.states import Extraction, extract
from models.training.teacher import Teacher, accelerator
from models.training.teacher_run import TeacherRun, weighing
from models.training.train_config import Backbone
from models.training.whiten import inputs, layers

_UNTAUGHT: dict[str, Backbone] = {"as loaded": "pretrained", "random weights": "random"}


def probe_layers(context: Context, run: TeacherRun) -> Probe:
    """Which layer knows what; found again if it was made before."""
    config, teacher = context.config.probe, context.config.teacher
    members = context.config.students.members
    held_out = [p.identity for p in context.job.splits.valid]
    key = store.key("probe 2", config, teacher.states, teacher.held_out, teacher.layers, members, held_out)

    def make() -> Probe:
        context.report("probing the layers")
        responses = respond(run.train, run.valid, layers, config)
        controls = {"input": respond(run.train, run.valid, inputs, config)}
        if config.control_windows and teacher.backbone == "pretrained":
            controls |= {name: _untaught(context, backbone) for name, backbone in _UNTAUGHT.items()}
        first = next(iter(run.train))
        kept = teacher.layers or list(range(first.states.shape[1]))
        return analyse(responses, controls, kept, members, config)

    return store.cached(run.folder / f"probe-{key}.json", Probe, make)


def _untaught(context: Context, backbone: Backbone) -> Responses:
    """Responses of a backbone that was taught nothing, on fewer windows."""
    job, data = context.job, context.data
    config = msgspec.structs.replace(job.config.teacher, backbone=backbone, lora_rank=0, epochs=0)
    half = job.config.probe.control_windows // 2
    names = sorted({source.instrument for d in (data.train, data.valid) for source in d.sources})

    def make() -> nn.Module:
        features, horizon_s = len(context.scaler.mean), data.train.spec.horizon_s
        made = Teacher(config, features, names, horizon_s, job.cache / BACKBONES)
        return accelerator(config).prepare(made).eval()

    found = []
    for parts in (job.splits.train, job.splits.valid):
        key = store.key("control", weighing(config), half, config.layers, [p.identity for p in parts])
        extraction = Extraction(parts, half, True, job.cache / key)
        found.append(extract(make, config, context.scaler, extraction, context.report))
    return respond(found[0], found[1], layers, job.config.probe)

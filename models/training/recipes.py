"""The kinds of training, each a recipe that reads from top to bottom: datasets in, an ensemble with its numbers out.

`ofdd` is the method: a language model teaches a student for each layer group, task and regime. The others are its
controls on the same splits: `labels` (no teacher), `one-student` (one network of the same size), `kd` (one network,
vanilla distillation), `fitnets` (one network, the teacher's middle layers as hints).
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from models.features.dataset import Dataset
from models.training.comparison import ablate_axes, forecast_baselines, sweep_strengths
from models.training.context import Context, Job, Report
from models.training.distillation import (
    cell_targets,
    compare_with_labels,
    forecast_targets,
    hint_targets,
    plan_decomposition,
    train_network,
    train_students,
)
from models.training.evaluation import FusedStudents, fuse, judge, measure
from models.training.metrics import ByAxis, Forecasts, Metrics, SeparationAt
from models.training.probe import Probe
from models.training.probing import probe_layers
from models.training.students import Students
from models.training.teacher_run import TeacherRun, run_teacher
from models.training.train_config import Kind


class Trained(msgspec.Struct, frozen=True):
    """What one training found, before `export.write` makes an artifact of it."""

    job: Job
    ensemble: FusedStudents
    train: Dataset
    calibrate: Dataset
    metrics: Metrics
    probe: Probe | None = None


class Recipe(Protocol):
    """One kind of training."""

    def train(self, context: Context) -> Trained:
        """Follow the recipe."""


class Ofdd:
    """A language model teaches a student for each cell of layer group, task and regime."""

    def train(self, context: Context) -> Trained:
        """Teacher, probe, decomposition, students, fusion; then what all this is worth."""
        run = run_teacher(context, keep_states=True)
        by_labels = train_students(context, "students by labels")
        probe = probe_layers(context, run)
        errors = compare_with_labels(context, run, by_labels)
        plan = plan_decomposition(context, run, probe.bounds, errors)
        o = context.config.ofdd
        targets, overlap = cell_targets(context, plan, ByAxis(o.task, o.data, o.layer))
        ensemble = fuse(context, train_students(context, "students by OFDD", targets))
        forecasts: Forecasts = {}
        separation: list[SeparationAt] | None = None
        if context.config.baselines:
            forecasts |= ablate_axes(context, plan)
            separation = sweep_strengths(context, plan, by_labels)
        context.report("judging")
        forecasts |= judge(ensemble, context.data.reported)
        if context.config.baselines:
            networks = {
                "one network by labels": train_network(context, "one-student"),
                "one network, vanilla KD": train_network(context, "kd", forecast_targets(context, run)),
                "one network, feature KD": train_network(context, "fitnets", hint_targets(context, run)),
            }
            forecasts |= forecast_baselines(context, by_labels, networks)
        metrics = measure(context, ensemble, forecasts, run)
        metrics = msgspec.structs.replace(
            metrics, teacher_against_labels=errors, overlap=overlap, separation=separation
        )
        return Trained(context.job, ensemble, context.data.train, context.data.calibrate, metrics, probe)


class Labels:
    """Students are taught by what happened alone."""

    def train(self, context: Context) -> Trained:
        """Students, fusion, judging."""
        ensemble = fuse(context, train_students(context, "students by labels"))
        context.report("judging")
        forecasts = judge(ensemble, context.data.reported)
        if context.config.baselines:
            networks = {"one network by labels": train_network(context, "one-student")}
            forecasts |= forecast_baselines(context, None, networks)
        metrics = measure(context, ensemble, forecasts, None)
        return Trained(context.job, ensemble, context.data.train, context.data.calibrate, metrics)


class OneStudent:
    """One network of the students' size, taught by what happened alone."""

    def train(self, context: Context) -> Trained:
        """The network by itself."""
        return _ship_network(context, train_network(context, "one-student"), None)


class VanillaDistillation:
    """One network of the students' size, distilled from the teacher's forecasts (Hinton 2015)."""

    def train(self, context: Context) -> Trained:
        """Teacher, then the network; no states are kept."""
        run = run_teacher(context, keep_states=False)
        return _ship_network(context, train_network(context, "kd", forecast_targets(context, run)), run)


class FitNets:
    """One network of the students' size, with the teacher's middle layers as hints (Romero 2015)."""

    def train(self, context: Context) -> Trained:
        """Teacher with its states, then the network."""
        run = run_teacher(context, keep_states=True)
        return _ship_network(context, train_network(context, "fitnets", hint_targets(context, run)), run)


def _ship_network(context: Context, network: Students, run: TeacherRun | None) -> Trained:
    """Judge a single network beside the others; one that a teacher taught also beside one by labels."""
    ensemble = fuse(context, network)
    context.report("judging")
    forecasts = judge(ensemble, context.data.reported)
    if context.config.baselines:
        networks = {} if run is None else {"one network by labels": train_network(context, "one-student")}
        forecasts |= forecast_baselines(context, train_students(context, "students by labels"), networks)
    metrics = measure(context, ensemble, forecasts, run)
    return Trained(context.job, ensemble, context.data.train, context.data.calibrate, metrics)


RECIPES: dict[Kind, Recipe] = {
    "ofdd": Ofdd(),
    "labels": Labels(),
    "one-student": OneStudent(),
    "kd": VanillaDistillation(),
    "fitnets": FitNets(),
}


def run(job: Job, report: Report) -> Trained:
    """Train and judge by the recipe of the job's kind; `export.write` writes the artifact.

    Raises
    ------
    ModelError
        Data that cannot be learnt from, settings that do not fit, a full disk.

    """
    return RECIPES[job.kind].train(Context.open(job, report))

"""Stage five: what the ensemble is compared with. Baselines, the same without one axis, other strengths."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from models.features import scores
from models.training import baselines, students
from models.training.context import Context
from models.training.distillation import DecompositionPlan, cell_targets, train_students
from models.training.evaluation import fuse, mean_forecast
from models.training.metrics import LABELS_MEAN, LIGHTGBM, ByAxis, Forecasts, SeparationAt
from models.training.separation import separation
from models.training.students import Students

_SWEEP_EPOCHS, _SWEEP_ROWS = 6, 20_000
AXES = ("task", "data", "layer")


def forecast_baselines(context: Context, by_labels: Students | None, networks: Mapping[str, Students]) -> Forecasts:
    """Forecasts of the reported split by what the ensemble has to beat.

    Parameters
    ----------
    context : Context
    by_labels : Students or None
        Students taught by what happened alone, where the ensemble's were not.
    networks : mapping
        Single networks by their name.

    """
    config, data, scaler = context.config, context.data, context.scaler
    reported = data.reported
    context.report("ridge and LightGBM")
    found: Forecasts = {
        "last value": baselines.last_value(reported),
        "ridge": baselines.ridge(data.train, scaler)(reported),
        LIGHTGBM: baselines.lightgbm(data.train, data.valid, config.students.seed, config.threads)(reported),
    }
    if by_labels is not None:
        found[LABELS_MEAN] = mean_forecast(by_labels, scaler, reported)
        found["students by labels, Hájek-MoE"] = fuse(context, by_labels).forecast(reported)
    return found | {name: mean_forecast(network, scaler, reported) for name, network in networks.items()}


def ablate_axes(context: Context, plan: DecompositionPlan) -> Forecasts:
    """The same without the decoupling of one axis."""
    o, reported = context.config.ofdd, context.data.reported
    base = ByAxis(o.task, o.data, o.layer)
    found: Forecasts = {}
    for axis in AXES:
        if getattr(base, axis):
            targets, _ = cell_targets(context, plan, msgspec.structs.replace(base, **{axis: 0.0}))
            team = train_students(context, f"without the {axis} axis", targets)
            found[f"OFDD without the {axis} axis, Hájek-MoE"] = fuse(context, team).forecast(reported)
    return found


def sweep_strengths(context: Context, plan: DecompositionPlan, by_labels: Students) -> list[SeparationAt]:
    """Separation of the students' features against the strength of the decoupling, briefly trained."""
    o, s, scaler = context.config.ofdd, context.config.students, context.scaler
    brief, covered = _brief(context, plan)
    valid = context.data.valid
    _, z = students.outputs(by_labels, scaler, valid)
    found = [SeparationAt(None, **msgspec.structs.asdict(separation(z, s.regimes, s.members)))]
    for multiple in o.sweep:
        strengths = ByAxis(multiple * o.task, multiple * o.data, multiple * o.layer)
        targets, overlap = cell_targets(brief, covered, strengths)
        team = train_students(brief, f"separation at {multiple:g} x the strengths", targets)
        y, z = students.outputs(team, scaler, valid)
        mid = y[:, : s.regimes * s.members].mean(1)
        found.append(
            SeparationAt(
                multiple,
                **msgspec.structs.asdict(separation(z, s.regimes, s.members)),
                overlap=overlap,
                ic_mid_of_mean=scores.correlation(mid, scaler.targets(valid)[:, 0].astype(np.float64)),
            )
        )
    return found


def _brief(context: Context, plan: DecompositionPlan) -> tuple[Context, DecompositionPlan]:
    """Fewer epochs on fewer rows; all that the teacher covers stay."""
    replace = msgspec.structs.replace
    job, data, s = context.job, context.data, context.config.students
    every = -(-len(data.train) // _SWEEP_ROWS)
    keep = np.arange(len(data.train)) % every == 0
    keep |= plan.run.place >= 0
    config = replace(job.config, students=replace(s, epochs=min(s.epochs, _SWEEP_EPOCHS)))
    small = replace(context, job=replace(job, config=config), data=replace(data, train=data.train.rows(keep)))
    return small, replace(plan, run=replace(plan.run, place=plan.run.place[keep]))

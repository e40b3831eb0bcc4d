"""The model card: what an artifact is, what it was trained on, what it is worth and where it is weak."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from models.ensemble.artifact import Manifest
from models.features.scores import JUDGED, METRICS, Metric, Score
from models.training.metrics import HAJEK_MOE, LIGHTGBM, MEAN, ONLINE, Gate, Metrics, SeparationAt
from models.training.probe import Probe

_KINDS = {
    "ofdd": "taught by {teacher} through orthogonal feature decomposition distillation",
    "labels": "taught by what happened alone: no language model took part",
    "one-student": "one network of the students' size, taught by what happened alone",
    "kd": "one network of the students' size, distilled from the forecasts of {teacher}",
    "fitnets": "one network of the students' size, with the middle layers of {teacher} as hints",
}


def card(manifest: Manifest, metrics: Metrics, probe: Probe | None) -> str:
    """Markdown."""
    how = _KINDS[manifest.kind].format(teacher=manifest.teacher)
    lines = [
        f"# {manifest.name}",
        "",
        f"{manifest.students} one-layer students ({len(manifest.tasks)} tasks, {manifest.regimes} regimes), {how}; fused by a "
        f"Hájek-projection mixture of experts. Horizon {manifest.spec.horizon_s:g} s.",
        "",
        "| split | used for | data |",
        "|---|---|---|",
    ]
    roles = {
        "train": "teacher and students",
        "valid": "epochs, choices, probe",
        "calibrate": "the fusion",
        "test": "this report, once",
    }
    for split, role in roles.items():
        days = sorted({" ".join(entry.split(" ")[:2]) for entry in manifest.splits.get(split, [])})
        lines.append(f"| {split} | {role} | {', '.join(days) or 'none'} |")
    if metrics.gate is not None:
        lines += ["", *_gate(metrics.gate)]
    lines += ["", *_scores(metrics), "", *_differences(metrics)]
    if metrics.teacher_rows is not None:
        lines += ["", *_teacher(metrics)]
    lines += ["", *_weaknesses(manifest, metrics)]
    if probe is not None:
        lines += ["", *_probe(probe)]
    if metrics.separation is not None:
        lines += ["", *_separation(metrics.separation)]
    if metrics.folds is not None:
        lines += ["", *_folds(metrics.folds)]
    return "\n".join(lines) + "\n"


def _gate(gate: Gate) -> list[str]:
    verdict = "PASSED" if gate.passed else "NOT PASSED"
    span = f"{gate.folds} walk-forward folds" if gate.folds > 1 else "one split only (no walk-forward folds)"
    lines = [
        f"**Gate: {verdict}** (better than LightGBM and than the mean of its students in every task, over {span}).",
        "",
        "| task | judged by | Hájek-MoE | mean of students | LightGBM | |",
        "|---|---|---|---|---|---|",
    ]
    for name, task in gate.tasks.items():
        values = " | ".join(_value(value) for value in (task.shipped, task.mean, task.lightgbm))
        lines.append(f"| {name} | {task.metric} | {values} | {'passed' if task.passed else 'not passed'} |")
    return lines


def _value(value: float | None) -> str:
    return "not trained" if value is None else f"{value:.4f}"


def _scores(metrics: Metrics) -> list[str]:
    first = next(iter(metrics.scores.values()))
    lines = [
        f"## Ensemble and baselines on the {metrics.reported_on} split ({first.samples:,} samples)",
        "",
        "| | IC mid | R² mid | MAE spread (ticks) | R² spread | R² volume |",
        "|---|---|---|---|---|---|",
    ]
    for name, s in metrics.scores.items():
        cells = [_with_interval(s, metric) for metric in METRICS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "IC: correlation of forecast and outcome. R² against the mean of the same span. In brackets 95% intervals by bootstrap of "
        "blocks of up to 5 minutes; none where the span is too short for five blocks.",
    ]
    return lines


def _with_interval(score: Score, metric: Metric, form: str = ".3f") -> str:
    interval = score.interval(metric)
    tail = f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval is not None else ""
    return f"{score.value(metric):{form}}{tail}"


def _differences(metrics: Metrics) -> list[str]:
    lines = []
    for who, d in metrics.against.items():
        parts = [f"{task} ({metric}) {_with_interval(d, metric, '+.4f')}" for task, metric in JUDGED.items()]
        lines.append(f"- Hájek-MoE minus {who}: {', '.join(parts)}")
    return lines


def _teacher(metrics: Metrics) -> list[str]:
    lines = ["## The teacher's own head, on the windows it forecast", ""]
    lines += ["| | windows | IC mid | MAE spread (ticks) | R² volume |", "|---|---|---|---|---|"]
    for who, s in (metrics.teacher_rows or {}).items():
        cells = [_with_interval(s, metric) for metric in JUDGED.values()]
        lines.append(f"| {who} | {s.samples:,} | {' | '.join(cells)} |")
    for who, d in (metrics.teacher_minus or {}).items():
        parts = [f"{task} ({metric}) {_with_interval(d, metric, '+.4f')}" for task, metric in JUDGED.items()]
        lines += ["", f"Teacher minus {who}: {', '.join(parts)}."]
    if metrics.teacher_against_labels is not None:
        kept = [task for task, error in metrics.teacher_against_labels.items() if error.distilled]
        lines += [
            "",
            "Its forecasts were distilled only where it erred less than students taught by labels on the validation split: "
            f"{', '.join(kept) or 'in no task'}.",
        ]
    return lines


def _weaknesses(manifest: Manifest, metrics: Metrics) -> list[str]:
    lines = ["## Where it is weak", ""]
    values = metrics.scores
    for task, metric in JUDGED.items():
        sign = -1.0 if metric == "mae_spread_ticks" else 1.0
        best = max(values, key=lambda who: sign * values[who].value(metric))
        if best != HAJEK_MOE:
            ours, theirs = values[HAJEK_MOE].value(metric), values[best].value(metric)
            lines.append(f"- {task}: {best} is better ({theirs:.4f} against {ours:.4f})")
    robust = metrics.robustness
    if robust.worst is not UNSET:
        lines.append(
            f"- one student replaced by noise of six sigma: IC of the mid falls from {robust.ic_mid:.3f} to "
            f"{robust.worst:.3f} at worst (the plain mean from {robust.mean:.3f} to {robust.mean_worst:.3f})"
        )
    if not manifest.splits.get("test"):
        lines.append("- no test split: the numbers above are of days on which choices were made")
    instruments = ", ".join(manifest.instruments)
    lines.append(
        f"- knows {instruments} and nothing else; features outside its training range are counted when it trades"
    )
    return lines


def _probe(probe: Probe) -> list[str]:
    groups = ", ".join(f"{a}–{b}" for a, b in probe.groups)
    lines = [
        "## What the teacher's layers know (normalized fluorescent probe)",
        "",
        f"Layer groups {groups} (from {probe.groups_from}). Response: correlation on the validation split at the best layer; "
        f"beside it the embedding, the last patch itself, and the best layers of the model as loaded and with random weights. A cell whose signal-to-noise ratio is below {probe.dark_below:g} is dark: no claim.",
        "",
        "| regime | task | best layer | response | embedding | input alone | as loaded | random weights | SNR | shares of the groups | P(win) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in probe.cells:
        controls = [cell.controls.get(name) for name in ("input", "as loaded", "random weights")]
        shown = " | ".join("–" if value is None else f"{value:.3f}" for value in controls)
        shares = " / ".join(f"{share:.2f}" for share in cell.group_shares)
        claim = "dark" if cell.dark else f"{cell.winning_probability:.2f}"
        lines.append(
            f"| {cell.regime} | {cell.task} | {cell.peak_layer} | {cell.best:.3f} | {cell.response[0]:.3f} | {shown} | {cell.snr:.1f} | "
            f"{shares} | {claim} |"
        )
    return lines


def _separation(sweep: Sequence[SeparationAt]) -> list[str]:
    lines = [
        "## Separation of the students against the strength of decoupling",
        "",
        "| strength | silhouette | CKA | across tasks | across regimes | across layers |",
        "|---|---|---|---|---|---|",
    ]
    for s in sweep:
        name = "labels only" if s.strength is None else f"{s.strength:g} x"
        values = (s.silhouette, s.cka, s.cka_task, s.cka_data, s.cka_layer)
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")
    return [*lines, "", "Students of this table were trained for a few epochs only."]


def _folds(folds: Sequence[Metrics]) -> list[str]:
    lines = [
        "## Walk-forward folds (the last one ships)",
        "",
        "| fold | test | forecast | IC mid | MAE spread | R² volume |",
        "|---|---|---|---|---|---|",
    ]
    for i, fold in enumerate(folds):
        for who in (HAJEK_MOE, MEAN, LIGHTGBM, ONLINE):
            if who in fold.scores:
                values = " | ".join(f"{fold.scores[who].value(metric):.4f}" for metric in JUDGED.values())
                lines.append(f"| {i + 1} | {', '.join(fold.test_days)} | {who} | {values} |")
    return lines

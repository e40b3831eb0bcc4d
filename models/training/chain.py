"""The whole of training: datasets in, artifact out; teacher → probe → students → fusion → graph → card.

Kinds: `ofdd` (a language model teaches a student for each layer group, task and regime), and its
controls on the same splits: `labels` (no teacher), `one-student` (one network of the same size), `kd`
(one network, vanilla distillation), `fitnets` (one network, the teacher's middle layers as hints).
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.ensemble import artifact
from models.ensemble.artifact import Golden, Manifest
from models.ensemble.fusion import comparisons, fit
from models.ensemble.parameters import Calibration
from models.ensemble.predictor import run_graph, run_rows
from models.ensemble.recalibrate import moments, replay
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.errors import ModelError
from models.features import checks, scores, splits
from models.features.book_features import TASKS, FeatureSpec
from models.features.dataset import Dataset
from models.features.labels import cells, denormalise
from models.features.scaler import Scaler
from models.features.splits import Splits
from models.training import baselines as contestants
from models.training import decompose, graph, states, store, students, teacher
from models.training.body import find
from models.training.card import card
from models.training.decompose import Cells, Strengths
from models.training.probe import analyse, probe_teacher, respond, thirds
from models.training.separation import separation
from models.training.states import Shards
from models.training.students import Lessons, Students
from models.training.train_config import Kind, TeacherConfig, TrainConfig
from models.training.whiten import layers

type Report = Callable[[str], None]
type Forecasts = dict[str, NDArray[np.float64]]
"""Natural units (rows, 3), by contestant."""

PARITY = 1e-5
_PARITY_ROWS = 4000
_PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "transformers", "peft", "lightgbm")
_NOISE = 6.0
_SWEEP_EPOCHS, _SWEEP_ROWS = 6, 20_000


class Job(msgspec.Struct, frozen=True):
    """One training.

    Attributes
    ----------
    kind : Kind
    config : TrainConfig
    splits : Splits
    cache : Path
        Folder for the teacher, its states and what is made of them, found again by what they were made of.
    name : str
        Of the artifact.

    """

    kind: Kind
    config: TrainConfig
    splits: Splits
    cache: Path
    name: str


class Trained(msgspec.Struct, frozen=True):
    """What one training found, before it is written."""

    team: Students
    scaler: Scaler
    calibration: Calibration
    train: Dataset
    fused_on: Dataset
    metrics: dict[str, Any]
    probe: dict[str, Any] | None


class _Data(msgspec.Struct, frozen=True):
    train: Dataset
    valid: Dataset
    calibrate: Dataset
    test: Dataset | None

    @property
    def reported(self) -> tuple[str, Dataset]:
        return ("test", self.test) if self.test is not None else ("valid", self.valid)


class _Taught(msgspec.Struct, frozen=True):
    """What the teacher left behind."""

    shards: Shards
    valid: Shards
    test: Shards | None
    index: NDArray[np.int64]
    """Place of each training row among the shards' windows, -1 where the teacher was silent."""
    folder: Path


def run(job: Job, report: Report) -> Trained:
    """Train and judge; the artifact is written by `write`.

    Raises
    ------
    ModelError
        Data that cannot be learnt from, settings that do not fit, a full disk.

    """
    torch.set_num_threads(job.config.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or a GPU is not deterministic
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    config, parts = job.config, job.splits
    data = _Data(
        splits.load(parts.train),
        splits.load(parts.valid),
        splits.load(parts.calibrate),
        splits.load(parts.test) if parts.test else None,
    )
    checks.check(data.train, config.students.regimes, config.leak_limit)
    scaler = Scaler.fit(part.load() for part in parts.train)
    metrics: dict[str, Any] = {"kind": job.kind}
    probe = taught = None
    if job.kind in ("ofdd", "kd", "fitnets"):
        taught = _teach(job, data, scaler, report)
    wanted = config.contestants or job.kind in ("labels", "ofdd")
    by_labels = _students(data, scaler, config, None, report, "students by labels") if wanted else None
    forecasts: Forecasts = {}
    reported = data.reported[1]
    shipped: Students
    if job.kind == "ofdd" and taught is not None and by_labels is not None:
        probe = _probe(job, data, scaler, taught, report)
        bounds = [(a, b) for a, b in probe["bounds"]]
        weights = _forecast_weights(config, data, taught, scaler, by_labels, metrics)
        strengths = Strengths(config.ofdd.task, config.ofdd.data, config.ofdd.layer)
        lessons, overlap = _lessons(config, taught, bounds, strengths, weights)
        metrics["overlap"] = overlap
        shipped = _students(data, scaler, config, lessons, report, "students by OFDD")
        if config.contestants:
            forecasts |= _ablations(config, data, scaler, taught, bounds, weights, report)
            metrics["separation"] = _sweep(config, data, scaler, taught, bounds, weights, by_labels, report)
    elif job.kind == "labels" and by_labels is not None:
        shipped = by_labels
    else:
        shipped = _one_network(job.kind, config, data, scaler, taught, report)
    calibration = _calibrate(shipped, scaler, data.calibrate, config, job.kind)
    report("judging")
    forecasts |= _judge(shipped, scaler, calibration, reported, job.kind)
    metrics["robustness"] = _robustness(shipped, scaler, calibration, reported)
    if config.contestants:
        forecasts |= _baselines(job, data, scaler, taught, by_labels, reported, report)
    name = data.reported[0]
    metrics["reported_on"] = name
    metrics["test_days"] = sorted({source.date for source in reported.sources})
    metrics["contestants"] = {who: scores.score(f, reported) for who, f in forecasts.items()}
    metrics["against"] = {
        who: scores.difference(forecasts[SHIPPED], forecasts[who], reported)
        for who in (MEAN, LIGHTGBM, LABELS_MEAN)
        if who in forecasts
    }
    metrics["valid"] = scores.score(_judge(shipped, scaler, calibration, data.valid, job.kind)[SHIPPED], data.valid)
    if taught is not None:
        metrics["teacher_rows"] = _teacher_rows(taught, data, scaler, forecasts)
    return Trained(shipped, scaler, calibration, data.train, data.calibrate, metrics, probe)


SHIPPED = "Hájek-MoE"
MEAN = "mean of students"
LABELS_MEAN = "students by labels, mean"
LIGHTGBM = "LightGBM"
ONLINE = "Hájek-MoE, recalibrated online"


def gate(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether the ensemble beats LightGBM and the mean of its students, task by task, on the folds' mean."""
    tasks: dict[str, Any] = {}
    for task, metric in scores.JUDGED.items():
        values: dict[str, float | None] = {}
        for who in (SHIPPED, MEAN, LIGHTGBM):
            found = [fold["contestants"][who][metric] for fold in folds if who in fold["contestants"]]
            values[who] = float(np.mean(found)) if len(found) == len(folds) else None
        shipped = values[SHIPPED]
        rivals = [rival for who in (MEAN, LIGHTGBM) if (rival := values[who]) is not None]
        passed = shipped is not None and len(rivals) == 2 and all(scores.beats(metric, shipped, r) for r in rivals)
        tasks[task] = {"metric": metric, **values, "passed": passed}
    return {"folds": len(folds), "tasks": tasks, "passed": all(t["passed"] for t in tasks.values())}


def write(job: Job, trained: Trained, folds: Sequence[dict[str, Any]], out: Path, report: Report) -> Manifest:
    """Export, check and put the artifact in its place; an earlier one stays until the new one is whole.

    Parameters
    ----------
    job : Job
    trained : Trained
    folds : sequence of dict
        Metrics of all walk-forward folds, this one last.
    out : Path
    report : callable

    """
    report("exporting")
    ensemble = graph.Ensemble(trained.team, trained.scaler, trained.calibration)
    staged = out.with_name(out.name + ".tmp")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
        path = staged / artifact.GRAPH
        graph.export(ensemble, trained.train.features.shape[1], path)
        trained.calibration.save(staged / artifact.FUSION)
        metrics = trained.metrics | {
            "parity": _parity(ensemble, path, trained.fused_on.features),
            "gate": gate(folds),
        }
        if len(folds) > 1:
            metrics["folds"] = list(folds)
        store.write_json(staged / artifact.METRICS, metrics)
        names = [artifact.GRAPH, artifact.FUSION, artifact.METRICS]
        if trained.probe is not None:
            store.write_json(staged / artifact.PROBE, trained.probe)
            names.append(artifact.PROBE)
        row = trained.fused_on.features[len(trained.fused_on) // 2]
        golden = Golden(row.tolist(), run_graph(path, row[None])[0].tolist())
        files = {name: artifact.file_hash(staged / name) for name in names}
        manifest = _manifest(job, trained, metrics, files, golden)
        artifact.write(out, staged, manifest, card(manifest, metrics, trained.probe))
    except OSError as error:
        if store.is_full(error):
            raise ModelError(f"{out}: the disk is full; free some space and run the command again") from error
        raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return manifest


# ── teacher ───────────────────────────────────────────────────────────────────────────────────


def _teach(job: Job, data: _Data, scaler: Scaler, report: Report) -> _Taught:
    config, parts = job.config.teacher, job.splits
    if config.body != "none":
        find(config.model, job.cache / "bodies")  # a wrong name is told before the work begins
    names = sorted({source.instrument for source in data.train.sources})
    later = [s for d in (data.valid, data.calibrate, data.test) if d is not None for s in d.sources]
    names = sorted({*names, *(source.instrument for source in later)})
    folder = job.cache / store.key("teacher", _learning(config), names, [p.identity for p in parts.train])
    spec = data.train.spec

    def model() -> nn.Module:
        return teacher.train(config, parts.train, scaler, names, spec.horizon_s, folder, report)

    model_once = _once(model)
    budget = {"train": config.states, "valid": config.held_out, "test": config.held_out}
    found: dict[str, Shards] = {}
    for name, chosen in (("train", parts.train), ("valid", parts.valid), ("test", parts.test)):
        if chosen:
            keep = name != "test" and job.kind != "kd"
            key = store.key(name, budget[name], config.layers, [p.identity for p in chosen])
            kept = folder / (key if keep else f"{key}-forecasts")
            found[name] = states.extract(model_once, config, chosen, scaler, budget[name], keep, kept, report)
    small = found["train"].small()
    return _Taught(found["train"], found["valid"], found.get("test"), _places(data.train, small), folder)


def _learning(config: TeacherConfig) -> dict[str, Any]:
    """The settings on which the teacher's weights depend."""
    known: dict[str, Any] = msgspec.to_builtins(config)
    for name in ("states", "held_out", "layers", "checkpoint_every"):
        del known[name]
    return known


def _once(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    made: list[nn.Module] = []

    def get() -> nn.Module:
        if not made:
            made.append(make())
        return made[0]

    return get


def _places(data: Dataset, windows: states.Shard) -> NDArray[np.int64]:
    """For each row of the data, its place among the windows, else -1."""
    index = np.full(len(data), -1, np.int64)
    for part in np.unique(windows.part):
        rows, seen = np.flatnonzero(data.source == part), np.flatnonzero(windows.part == part)
        index[rows[np.searchsorted(data.ts_ns[rows], windows.ts_ns[seen])]] = seen
    return index


def _probe(job: Job, data: _Data, scaler: Scaler, taught: _Taught, report: Report) -> dict[str, Any]:
    config = job.config
    members = config.students.members
    held_out = [p.identity for p in job.splits.valid]
    t = config.teacher
    key = store.key("probe 2", config.probe, t.states, t.held_out, t.layers, members, held_out)
    path = taught.folder / f"probe-{key}.json"

    def make() -> dict[str, Any]:
        report("probing the layers")
        responses, inputs = probe_teacher(taught.shards, taught.valid, config.probe)
        controls = {"input": inputs}
        if config.probe.control_windows and config.teacher.body == "pretrained":
            for name, body in (("as loaded", "pretrained"), ("random weights", "random")):
                controls[name] = _control(job, data, scaler, body, report)
        first = next(iter(taught.shards))
        kept = config.teacher.layers or list(range(first.states.shape[1]))
        return analyse(responses, controls, kept, members, config.probe)

    known: dict[str, Any] = store.cached(path, make)
    return known


def _control(job: Job, data: _Data, scaler: Scaler, body: Any, report: Report) -> Any:
    """Probe responses of a body that was taught nothing, on fewer windows."""
    config = msgspec.structs.replace(job.config.teacher, body=body, lora_rank=0, epochs=0)
    half = job.config.probe.control_windows // 2
    names = sorted({source.instrument for d in (data.train, data.valid) for source in d.sources})

    def model() -> nn.Module:
        made = teacher.Teacher(config, len(scaler.mean), names, data.train.spec.horizon_s, job.cache / "bodies")
        return teacher.accelerator(config).prepare(made).eval()  # type: ignore[no-any-return]

    found = []
    for parts in (job.splits.train, job.splits.valid):
        folder = job.cache / store.key("control", _learning(config), half, config.layers, [p.identity for p in parts])
        found.append(states.extract(model, config, parts, scaler, half, True, folder, report))
    return respond(found[0], found[1], layers, job.config.probe)


# ── students ──────────────────────────────────────────────────────────────────────────────────


def _students(
    data: _Data, scaler: Scaler, config: TrainConfig, lessons: Lessons | None, report: Report, what: str
) -> Students:
    return students.train(
        data.train,
        scaler,
        config.students,
        lambda epoch, loss: report(f"{what}: epoch {epoch} of {config.students.epochs}, loss {loss:.4f}"),
        data.valid,
        lessons,
    )


def _lessons(
    config: TrainConfig,
    taught: _Taught,
    bounds: list[tuple[int, int]],
    strengths: Strengths,
    forecast_weight: NDArray[np.float32],
) -> tuple[Lessons, dict[str, float]]:
    found = _cells(config, taught, bounds, strengths)
    o = config.ofdd
    return Lessons(found, taught.index, o.components, o.feature_weight, forecast_weight), found.overlap


def _cells(config: TrainConfig, taught: _Taught, bounds: list[tuple[int, int]], strengths: Strengths) -> Cells:
    path = taught.folder / f"groups-{store.key(bounds, config.teacher.states, config.teacher.layers)}.npy"
    mapped = decompose.group_states(taught.shards, bounds, path)
    small, s = taught.shards.small(), config.students
    regime = cells(small.regime, s.regimes)
    return decompose.fit(mapped, small.target, regime, s.regimes, s.outside_weight, strengths, config.ofdd)


def _forecast_weights(
    config: TrainConfig, data: _Data, taught: _Taught, scaler: Scaler, by_labels: Students, metrics: dict[str, Any]
) -> NDArray[np.float32]:
    """λ_kd by task: only where the teacher errs less than students taught by labels, on the validation span."""
    small = taught.valid.small()
    index = _places(data.valid, small)
    heard = data.valid.rows(index >= 0)
    y, _ = students.outputs(by_labels, scaler, heard)
    labels = y.reshape(len(y), len(TASKS), -1).mean(-1)
    outcome, forecast = scaler.targets(heard), small.forecast[index[index >= 0]]
    errors = np.stack([((f - outcome) ** 2).mean(0) for f in (forecast, labels)])
    better = errors[0] < errors[1]
    metrics["teacher_against_labels"] = {
        task: {"teacher_error": float(errors[0, i]), "labels_error": float(errors[1, i]), "distilled": bool(better[i])}
        for i, task in enumerate(TASKS)
    }
    return np.where(better, config.ofdd.forecast_weight, 0.0).astype(np.float32)


class _Words:
    """A teacher's own forecasts, and its middle layers as hints, for one network (Hinton 2015, Romero 2015)."""

    def __init__(self, forecasts: NDArray[np.float32], hints: NDArray[np.float32] | None) -> None:
        self._forecasts, self._hints = torch.from_numpy(forecasts), hints

    def feature(self, rows: Tensor) -> Tensor | None:
        if self._hints is None:
            return None
        return torch.from_numpy(self._hints[rows.numpy()])[:, None].expand(-1, len(TASKS), -1)

    def forecast(self, rows: Tensor) -> Tensor:
        return self._forecasts[rows]


def _one_network(
    kind: Kind, config: TrainConfig, data: _Data, scaler: Scaler, taught: _Taught | None, report: Report
) -> Students:
    """One network of the students' size: by labels, by vanilla distillation, or with hints."""
    lessons = None
    if taught is not None and kind != "one-student":
        o, hints = config.ofdd, None
        if kind == "fitnets":
            count = next(iter(taught.shards)).states.shape[1]
            bounds = thirds(count, 3)
            path = taught.folder / f"groups-{store.key(bounds, config.teacher.states, config.teacher.layers)}.npy"
            hints = np.ascontiguousarray(decompose.group_states(taught.shards, bounds, path)[:, 1])
        words = _Words(taught.shards.small().forecast, hints)
        weights = np.full(len(TASKS), 0.0 if kind == "fitnets" else o.forecast_weight, np.float32)
        width = hints.shape[1] if hints is not None else 0
        lessons = Lessons(words, taught.index, width, o.feature_weight, weights)
    return students.train(
        data.train,
        scaler,
        config.students,
        lambda epoch, loss: report(f"{kind}: epoch {epoch} of {config.students.epochs}, loss {loss:.4f}"),
        data.valid,
        lessons,
        shared=True,
    )


def _calibrate(team: Students, scaler: Scaler, data: Dataset, config: TrainConfig, kind: Kind) -> Calibration:
    """Fit the fusion on the calibration split."""
    regimes = _regimes(config, kind)
    y, z = students.outputs(team, scaler, data)
    target, regime = scaler.targets(data).astype(np.float64), cells(data.regime, regimes)
    purge_ns = round(data.spec.horizon_s * 1e9)
    fusion = fit(y, z, target, regime, regimes, data.ts_ns, purge_ns, config.fusion)
    readout = team.readout.detach().double().numpy()
    blank = Calibration(
        np.concatenate([readout, np.ones((len(readout), 1))], 1),
        team.readout_bias.detach().double().numpy(),
        scaler.target_mean.astype(np.float64),
        scaler.target_deviation.astype(np.float64),
        fusion,
        regimes,
        config.fusion.outside_weight,
        config.fusion.bandwidth,
        {},
    )
    return msgspec.structs.replace(blank, sums=moments(blank, y, z, target, regime))


def _regimes(config: TrainConfig, kind: Kind) -> int:
    return config.students.regimes if kind in ("ofdd", "labels") else 1


# ── judging ───────────────────────────────────────────────────────────────────────────────────


def _judge(team: Students, scaler: Scaler, calibration: Calibration, data: Dataset, kind: Kind) -> Forecasts:
    """The fusion, online recalibration and the other ways to fuse the same students."""
    y, z = students.outputs(team, scaler, data)
    regime = cells(data.regime, calibration.regimes)
    target = scaler.targets(data).astype(np.float64)
    found = {SHIPPED: calibration.fusion.predict(y, z)[0]}
    names = {
        "mean": MEAN,
        "median": "median of students",
        "regime_gate": "hard regime gate",
        "hajek_sum": "raw Hájek sum",
    }
    others = comparisons(calibration.fusion, y, z, regime, calibration.regimes)
    if kind in ("ofdd", "labels"):
        found |= {names[name]: forecast for name, forecast in others.items()}
    else:
        found[MEAN] = others["mean"]
    found[ONLINE] = replay(calibration, RecalibrateConfig(), y, z, target, regime, data.ts_ns, data.spec.horizon_s)
    return {name: denormalise(scaler.natural(f), data.features) for name, f in found.items()}


def _mean_forecast(team: Students, scaler: Scaler, data: Dataset) -> NDArray[np.float64]:
    y, _ = students.outputs(team, scaler, data)
    return denormalise(scaler.natural(y.reshape(len(y), len(TASKS), -1).mean(-1)), data.features)


def _ablations(
    config: TrainConfig,
    data: _Data,
    scaler: Scaler,
    taught: _Taught,
    bounds: list[tuple[int, int]],
    weights: NDArray[np.float32],
    report: Report,
) -> Forecasts:
    """The same without the decoupling of one axis."""
    found: Forecasts = {}
    reported = data.reported[1]
    base = Strengths(config.ofdd.task, config.ofdd.data, config.ofdd.layer)
    for axis in ("task", "data", "layer"):
        if not getattr(base, axis):
            continue
        lessons, _ = _lessons(config, taught, bounds, msgspec.structs.replace(base, **{axis: 0.0}), weights)
        team = _students(data, scaler, config, lessons, report, f"without the {axis} axis")
        calibration = _calibrate(team, scaler, data.calibrate, config, "ofdd")
        y, z = students.outputs(team, scaler, reported)
        forecast = calibration.fusion.predict(y, z)[0]
        found[f"OFDD without the {axis} axis, Hájek-MoE"] = denormalise(scaler.natural(forecast), reported.features)
    return found


def _sweep(
    config: TrainConfig,
    data: _Data,
    scaler: Scaler,
    taught: _Taught,
    bounds: list[tuple[int, int]],
    weights: NDArray[np.float32],
    by_labels: Students,
    report: Report,
) -> list[dict[str, Any]]:
    """Separation of the students' features against the strength of the decoupling, briefly trained."""
    s = config.students
    every = -(-len(data.train) // _SWEEP_ROWS)
    keep = np.arange(len(data.train)) % every == 0
    keep |= taught.index >= 0
    brief = msgspec.structs.replace(config, students=msgspec.structs.replace(s, epochs=min(s.epochs, _SWEEP_EPOCHS)))
    small = msgspec.structs.replace(data, train=data.train.rows(keep))
    heard = msgspec.structs.replace(taught, index=taught.index[keep])
    _, z = students.outputs(by_labels, scaler, data.valid)
    found: list[dict[str, Any]] = [{"strength": None, **separation(z, s.regimes, s.members)}]
    for multiple in config.ofdd.sweep:
        strengths = Strengths(*(multiple * getattr(config.ofdd, axis) for axis in ("task", "data", "layer")))
        lessons, overlap = _lessons(brief, heard, bounds, strengths, weights)
        team = _students(small, scaler, brief, lessons, report, f"separation at {multiple:g} x the strengths")
        y, z = students.outputs(team, scaler, data.valid)
        mid = y[:, : s.regimes * s.members].mean(1)
        found.append(
            {
                "strength": multiple,
                **separation(z, s.regimes, s.members),
                "overlap": overlap,
                "ic_mid_of_mean": scores.correlation(mid, scaler.targets(data.valid)[:, 0].astype(np.float64)),
            }
        )
    return found


def _baselines(
    job: Job,
    data: _Data,
    scaler: Scaler,
    taught: _Taught | None,
    by_labels: Students | None,
    reported: Dataset,
    report: Report,
) -> Forecasts:
    config = job.config
    report("ridge and LightGBM")
    found: Forecasts = {
        "last value": contestants.last_value(reported),
        "ridge": contestants.ridge(data.train, scaler)(reported),
        LIGHTGBM: contestants.lightgbm(data.train, data.valid, config.students.seed, config.threads)(reported),
    }
    if by_labels is not None and job.kind != "labels":
        calibration = _calibrate(by_labels, scaler, data.calibrate, config, "labels")
        y, z = students.outputs(by_labels, scaler, reported)
        fused = calibration.fusion.predict(y, z)[0]
        found[LABELS_MEAN] = _mean_forecast(by_labels, scaler, reported)
        found["students by labels, Hájek-MoE"] = denormalise(scaler.natural(fused), reported.features)
    networks: dict[str, Kind] = {"one network by labels": "one-student"}
    if taught is not None and job.kind == "ofdd":
        networks |= {"one network, vanilla KD": "kd", "one network, feature KD": "fitnets"}
    for name, kind in networks.items():
        if kind != job.kind:
            team = _one_network(kind, config, data, scaler, taught, report)
            found[name] = _mean_forecast(team, scaler, reported)
    return found


def _teacher_rows(taught: _Taught, data: _Data, scaler: Scaler, forecasts: Forecasts) -> dict[str, Any]:
    """The teacher's own head beside the main contestants, on the windows it forecast."""
    name, reported = data.reported
    shards = taught.test if name == "test" and taught.test is not None else taught.valid
    small = shards.small()
    index = _places(reported, small)
    rows = index >= 0
    heard = reported.rows(rows)
    head = denormalise(scaler.natural(small.forecast[index[rows]]), heard.features)
    others = {who: forecasts[who][rows] for who in (SHIPPED, MEAN, LIGHTGBM, LABELS_MEAN) if who in forecasts}
    result = {who: scores.score(f, heard) for who, f in ({"teacher's head": head} | others).items()}
    return result | {
        "teacher_minus": {who: scores.difference(head, f, heard) for who, f in others.items() if who == LIGHTGBM}
    }


def _robustness(team: Students, scaler: Scaler, calibration: Calibration, data: Dataset) -> dict[str, float]:
    """IC of the mid when any one of its students is replaced by noise of six sigma: worst and untouched."""
    y, z = students.outputs(team, scaler, data)
    outcome = scaler.targets(data)[:, 0].astype(np.float64)
    fusion, n = calibration.fusion, calibration.fusion.weight.shape[1]
    whole = scores.correlation(fusion.predict(y, z)[0][:, 0], outcome)
    if n < 3:
        return {"ic_mid": whole}
    rng = np.random.default_rng(0)
    worst = {"fusion": np.inf, "mean": np.inf}
    for i in range(n):
        mad = y.copy()
        mad[:, i] = rng.choice([-1.0, 1.0], len(y)) * _NOISE * y[:, i].std() + y[:, i].mean()
        worst["fusion"] = min(worst["fusion"], scores.correlation(fusion.predict(mad, z)[0][:, 0], outcome))
        worst["mean"] = min(worst["mean"], scores.correlation(mad[:, :n].mean(1), outcome))
    mean = scores.correlation(y[:, :n].mean(1), outcome)
    return {"ic_mid": whole, "worst": worst["fusion"], "mean": mean, "mean_worst": worst["mean"]}


# ── artifact ──────────────────────────────────────────────────────────────────────────────────


def _parity(ensemble: graph.Ensemble, path: Path, features: NDArray[np.float32]) -> dict[str, Any]:
    """Worst difference of the exported graph to torch, in batches of 1,000 and of one row.

    Relative to forecast and scale: a mid change is a small difference of terms as large as its sigma,
    which is hundreds of ticks on some instruments.
    """
    sample = features[:: max(1, len(features) // _PARITY_ROWS)][:_PARITY_ROWS]
    with torch.no_grad():
        trained = ensemble(torch.from_numpy(sample))[0].numpy()
    batches = np.concatenate([run_graph(path, sample[i : i + 1000]) for i in range(0, len(sample), 1000)])
    single = run_rows(path, sample)
    scale = 1.0 + np.abs(trained)
    scale[:, 0] += np.exp(sample[:, -3])
    found: dict[str, Any] = {"rows": len(sample)}
    for name, exported in (("batch_1000", batches), ("batch_1", single)):
        worst = float(np.max(np.abs(exported - trained) / scale))
        if worst > PARITY:
            raise ModelError(
                f"{path}: the exported graph differs from the trained one by {worst:.1e} (limit {PARITY:.0e})"
            )
        found[name] = worst
    return found


def _manifest(job: Job, trained: Trained, metrics: dict[str, Any], files: dict[str, str], golden: Golden) -> Manifest:
    low, high = np.quantile(trained.train.features, [0.001, 0.999], axis=0)
    margin = 0.5 * (high - low) + 1e-6
    sources = job.splits.headers()
    spec: FeatureSpec = trained.train.spec
    teacher_config = job.config.teacher
    taught = job.kind in ("ofdd", "kd", "fitnets")
    shipped = metrics["contestants"][SHIPPED]
    return Manifest(
        schema=artifact.SCHEMA,
        name=job.name,
        kind=job.kind,
        teacher=f"{teacher_config.model}, {teacher_config.body} body" if taught else "labels",
        spec=spec,
        spec_hash=spec.hash,
        tasks=list(TASKS),
        regimes=trained.calibration.regimes,
        students=trained.team.count,
        splits={
            split: [f"{h.instrument} {h.date} {h.source_sha256[:16]}" for h in headers]
            for split, headers in sources.items()
        },
        instruments=sorted({h.instrument for headers in sources.values() for h in headers}),
        depth=max(h.depth for h in sources["train"]),
        feature_low=(low - margin).tolist(),
        feature_high=(high + margin).tolist(),
        summary={"reported_on": metrics["reported_on"], "gate_passed": metrics["gate"]["passed"]}
        | {name: shipped[name] for name in scores.METRICS},
        settings=msgspec.to_builtins(job.config),
        versions={package: importlib.metadata.version(package) for package in _PACKAGES if _is_there(package)},
        files=files,
        golden=golden,
    )


def _is_there(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

"""Stage four: fit the fusion on the calibration split, and judge what comes of it on the reported one."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.ensemble.fit_fusion import fit
from models.ensemble.fusion import StudentOutputs, comparisons
from models.ensemble.moments import mean_moments, regime_weights
from models.ensemble.parameters import Calibration
from models.ensemble.recalibrate import replay
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.features import scores
from models.features.book_features import TASKS
from models.features.dataset import Dataset
from models.features.labels import cells, denormalise
from models.features.scaler import Scaler
from models.features.scores import Score
from models.training import students
from models.training.context import Context
from models.training.metrics import HAJEK_MOE, LABELS_MEAN, LIGHTGBM, MEAN, ONLINE, Forecasts, Metrics, Robustness
from models.training.students import Students
from models.training.teacher_run import TeacherRun, places

_NOISE = 6.0


class FusedStudents(msgspec.Struct, frozen=True):
    """Students and the fusion of what they say."""

    students: Students
    scaler: Scaler
    calibration: Calibration

    def outputs(self, data: Dataset) -> StudentOutputs:
        """What the students say of a span, and what came of it."""
        y, z = students.outputs(self.students, self.scaler, data)
        target = self.scaler.targets(data).astype(np.float64)
        return StudentOutputs(y, z, target, cells(data.regime, self.calibration.regimes), data.ts_ns)

    def forecast(self, data: Dataset) -> NDArray[np.float64]:
        """Fused forecasts (rows, 3), natural units."""
        y, z = students.outputs(self.students, self.scaler, data)
        return natural(self.calibration.fusion.predict(y, z)[0], self.scaler, data)


def natural(forecast: NDArray[np.floating], scaler: Scaler, data: Dataset) -> NDArray[np.float64]:
    """Standardised forecasts (rows, 3) in natural units."""
    return denormalise(scaler.natural(forecast), data.features)


def mean_forecast(team: Students, scaler: Scaler, data: Dataset) -> NDArray[np.float64]:
    """Mean of the students' own outputs (rows, 3), natural units."""
    y, _ = students.outputs(team, scaler, data)
    return natural(y.reshape(len(y), len(TASKS), -1).mean(-1), scaler, data)


def fuse(context: Context, team: Students) -> FusedStudents:
    """Fit the fusion on the calibration split."""
    config, scaler, data = context.config, context.scaler, context.data.calibrate
    regimes = 1 if team.shared else config.students.regimes
    y, z = students.outputs(team, scaler, data)
    target = scaler.targets(data).astype(np.float64)
    outputs = StudentOutputs(y, z, target, cells(data.regime, regimes), data.ts_ns)
    fusion = fit(outputs, regimes, round(data.spec.horizon_s * 1e9), config.fusion)
    readout = team.readout.detach().double().numpy()
    weights = regime_weights(fusion, regimes, config.fusion.outside_weight)
    calibration = Calibration(
        readout=np.concatenate([readout, np.ones((len(readout), 1))], 1),
        readout_bias=team.readout_bias.detach().double().numpy(),
        target_mean=scaler.target_mean.astype(np.float64),
        target_deviation=scaler.target_deviation.astype(np.float64),
        fusion=fusion,
        regimes=regimes,
        outside_weight=config.fusion.outside_weight,
        bandwidth=config.fusion.bandwidth,
        sums=mean_moments(fusion, outputs, weights),
    )
    return FusedStudents(team, scaler, calibration)


def judge(ensemble: FusedStudents, data: Dataset) -> Forecasts:
    """The fusion, the other ways to fuse the same students, and online recalibration."""
    outputs, c = ensemble.outputs(data), ensemble.calibration
    others = comparisons(c.fusion, outputs, c.regimes)
    found = {HAJEK_MOE: c.fusion.predict(outputs.y, outputs.z)[0], MEAN: others.mean}
    if not ensemble.students.shared:
        found["median of students"] = others.median
        found["hard regime gate"] = others.regime_gate
        found["raw Hájek sum"] = others.hajek_sum
    found[ONLINE] = replay(c, RecalibrateConfig(), outputs, data.spec.horizon_s)
    return {who: natural(forecast, ensemble.scaler, data) for who, forecast in found.items()}


def robustness(ensemble: FusedStudents, data: Dataset) -> Robustness:
    """IC of the mid when any one of its students is replaced by noise of six sigma: worst and untouched."""
    outputs, fusion = ensemble.outputs(data), ensemble.calibration.fusion
    y, z, n = outputs.y, outputs.z, fusion.weight.shape[1]
    ic = partial(scores.correlation, outcome=outputs.target[:, 0])
    whole = ic(fusion.predict(y, z)[0][:, 0])
    if n < 3:
        return Robustness(whole)
    rng = np.random.default_rng(0)
    worst = worst_mean = np.inf
    for i in range(n):
        mad = y.copy()
        mad[:, i] = rng.choice([-1.0, 1.0], len(y)) * _NOISE * y[:, i].std() + y[:, i].mean()
        worst = min(worst, ic(fusion.predict(mad, z)[0][:, 0]))
        worst_mean = min(worst_mean, ic(mad[:, :n].mean(1)))
    return Robustness(whole, worst, ic(y[:, :n].mean(1)), worst_mean)


def judge_teacher(context: Context, run: TeacherRun, forecasts: Forecasts) -> tuple[dict[str, Score], dict[str, Score]]:
    """The teacher's own head beside the main others on the windows it forecast, and less LightGBM."""
    reported = context.data.reported
    shards = run.test if context.data.test is not None and run.test is not None else run.valid
    small = shards.small()
    place = places(reported, small)
    rows = place >= 0
    covered = reported.rows(rows)
    head = natural(small.forecast[place[rows]], context.scaler, covered)
    others = {who: forecasts[who][rows] for who in (HAJEK_MOE, MEAN, LIGHTGBM, LABELS_MEAN) if who in forecasts}
    beside = {who: scores.score(f, covered) for who, f in ({"teacher's head": head} | others).items()}
    minus = {who: scores.difference(head, f, covered) for who, f in others.items() if who == LIGHTGBM}
    return beside, minus


def measure(context: Context, ensemble: FusedStudents, forecasts: Forecasts, run: TeacherRun | None) -> Metrics:
    """All numbers of the reported split, and of the teacher where there was one."""
    data, reported = context.data, context.data.reported
    beside, minus = judge_teacher(context, run, forecasts) if run is not None else (None, None)
    return Metrics(
        kind=context.job.kind,
        robustness=robustness(ensemble, reported),
        reported_on=data.reported_on,
        test_days=sorted({source.date for source in reported.sources}),
        scores={who: scores.score(f, reported) for who, f in forecasts.items()},
        against={
            who: scores.difference(forecasts[HAJEK_MOE], forecasts[who], reported)
            for who in (MEAN, LIGHTGBM, LABELS_MEAN)
            if who in forecasts
        },
        valid=scores.score(ensemble.forecast(data.valid), data.valid),
        teacher_rows=beside,
        teacher_minus=minus,
    )

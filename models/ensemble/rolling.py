"""The fusion of the last while: exponentially weighted normal equations that start as the calibration split's."""

from __future__ import annotations

import msgspec
import numpy as np

from models.ensemble.fit_fusion import fit_gamma
from models.ensemble.fusion import Array, Fusion
from models.ensemble.moments import Centre, Moments, Sample, add, regime_weights
from models.ensemble.parameters import Calibration
from models.ensemble.recalibrate_config import RecalibrateConfig


class Rolling:
    """The fusion of the last while.

    Parameters
    ----------
    calibration : Calibration
    config : RecalibrateConfig

    """

    def __init__(self, calibration: Calibration, config: RecalibrateConfig) -> None:
        self._c = calibration
        self._take(calibration.fusion)
        samples = config.half_life_s / config.sample_s
        self._keep = 0.5 ** (1.0 / samples)
        self._window = samples / np.log(2.0)
        self._prior = config.prior * self._window
        self._weights = regime_weights(calibration.fusion, calibration.regimes, calibration.outside_weight)
        self.sums = calibration.sums.times(self._window)
        self._scale = np.sqrt(calibration.fusion.bandwidth) / np.maximum(calibration.sums.distance, 1e-9)

    def learn(self, y: Array, phi: Array, target: Array, regime: int) -> None:
        """Take one sample whose outcome has become known.

        Parameters
        ----------
        y : ndarray (students,)
        phi : ndarray (students, D)
        target : ndarray (3,)
            Standardised.
        regime : int
            Of the cells.

        """
        f = self.fusion
        m = (y + (phi * f.beta).sum(-1) + f.offset).reshape(len(f.mean), -1) - f.mean[:, None]
        add(self._keep, Sample(y, phi, target, m, self._weights[regime]), self._centre, self.sums)

    def go_on(self, sums: Moments, fusion: Fusion) -> None:
        """Take what an earlier run had learnt."""
        self.sums = sums
        self._take(fusion)

    def _take(self, fusion: Fusion) -> None:
        self.fusion, self._centre = fusion, Centre.of(fusion)

    def refit(self) -> Fusion:
        """Solve for the fusion of the current moments."""
        s = Moments(*(value + self._prior * kept for value, kept in zip(self.sums, self._c.sums, strict=True)))
        old = self._c.fusion
        tasks, n = old.weight.shape
        ridges = np.repeat(old.ridges, n)
        on = np.isfinite(ridges)
        w = np.maximum(s.weight, 1e-12)
        centre, level = s.phi / w[:, None], s.residual / w
        gram = s.phi_phi / w[:, None, None] - centre[:, :, None] * centre[:, None, :]
        moment = s.phi_residual / w[:, None] - centre * level[:, None]
        beta, offset = np.zeros_like(old.beta), np.zeros_like(old.offset)
        if on.any():
            eye = np.eye(gram.shape[1])
            beta[on] = np.linalg.solve(gram[on] + ridges[on, None, None] * eye, moment[on][..., None])[..., 0]
            offset[on] = level[on] - (centre[on] * beta[on]).sum(-1)
        count = s.count[0]
        mean = s.target / count
        weight = old.weight.copy()
        for task in range(tasks):
            if np.isfinite(old.gamma_ridges[task]):
                pairs, products = s.member_member[task] / count, s.member_target[task] / count
                weight[task] = fit_gamma(pairs, products, old.gamma_ridges[task])
        bandwidth = (self._scale * s.distance / count) ** 2 + 1e-9
        self._take(
            msgspec.structs.replace(old, beta=beta, offset=offset, mean=mean, weight=weight, bandwidth=bandwidth)
        )
        return self.fusion

"""What of the graph may change while it runs: the fusion's parameters, as the graph wants them.

They are initialisers of the ONNX graph that a caller may override; without that the graph is complete.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.ensemble.fusion import Array, Fusion
from models.ensemble.moments import Moments
from models.errors import ModelError


class Calibration(msgspec.Struct, frozen=True):
    """All that refitting the fusion needs besides the graph; `fusion.npz` of an artifact.

    Attributes
    ----------
    readout : ndarray (students, width + 1)
        Of the latents, and 1 for the linear path.
    readout_bias : ndarray (students,)
    target_mean, target_deviation : ndarray (3,)
    fusion : Fusion
    regimes : int
    outside_weight : float
    bandwidth : float
        h in robust standard deviations.
    sums : Moments
        Means over the calibration split.

    """

    readout: Array
    readout_bias: Array
    target_mean: Array
    target_deviation: Array
    fusion: Fusion
    regimes: int
    outside_weight: float
    bandwidth: float
    sums: Moments

    def save(self, path: Path) -> None:
        """Write all arrays; the same values give the same bytes."""
        arrays: dict[str, NDArray[np.generic]] = {
            "readout": self.readout,
            "readout_bias": self.readout_bias,
            "target_mean": self.target_mean,
            "target_deviation": self.target_deviation,
            "scalars": np.array([self.regimes, self.outside_weight, self.bandwidth]),
        }
        arrays |= {f"fusion.{name}": np.asarray(getattr(self.fusion, name)) for name in Fusion.__struct_fields__}
        arrays |= {f"sums.{name}": value for name, value in self.sums._asdict().items()}
        with path.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            Missing, damaged or of another version.

        """
        try:
            with np.load(path) as arrays:
                fields = {name: arrays[f"fusion.{name}"] for name in Fusion.__struct_fields__}
                for name in ("ridges", "gamma_ridges"):
                    fields[name] = fields[name].tolist()
                sums = Moments(*(arrays[f"sums.{name}"] for name in Moments._fields))
                regimes, outside, bandwidth = arrays["scalars"].tolist()
                base = {n: arrays[n] for n in ("readout", "readout_bias", "target_mean", "target_deviation")}
                rest = {"regimes": int(regimes), "outside_weight": outside, "bandwidth": bandwidth, "sums": sums}
                return Calibration(**base, **rest, fusion=Fusion(**fields))
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); train the artifact again") from error


def graph_parameters(c: Calibration, fusion: Fusion) -> dict[str, NDArray[np.float32]]:
    """Arrays by their name in the graph; n students a task, D kernel features.

    readout (students, width + 1 + D), base (students,), bandwidth (3, 1), weight (3, n), inverse_total (3,),
    units (6, 6) and offset (6,), which turn (fused, context) into factors and exponents:
    mid e^c, 1 e^(spread + c), (volume + c) e^0.
    """
    n = fusion.weight.shape[1]
    beta = fusion.beta * np.sqrt(2.0 / len(fusion.phase))
    deviation = c.target_deviation
    scale, shift = fusion.weight.sum(-1) * deviation, fusion.mean * deviation + c.target_mean
    units = np.zeros((6, 6))
    units[0, 0], units[2, 2], units[1, 4] = scale[0], scale[2], scale[1]
    units[5, 2] = units[3, 3] = units[4, 4] = 1.0
    arrays = {
        "readout": np.concatenate([c.readout, beta], 1),
        "base": c.readout_bias + fusion.offset - np.repeat(fusion.mean, n),
        "bandwidth": 1.0 / fusion.bandwidth[:, None],
        "weight": fusion.weight,
        "inverse_total": 1.0 / fusion.weight.sum(-1),
        "units": units,
        "offset": np.array([shift[0], 1.0, shift[2], 0.0, shift[1], 0.0]),
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}

"""Datasets: one Parquet file a trading day, features and outcomes row by row, in order of time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.errors import ModelError
from models.features.book_features import FeatureSpec
from models.features.outcomes import Outcome

_ROW_GROUP = 8192
_OUTCOMES = Outcome._fields[1:]


class DatasetHeader(msgspec.Struct, frozen=True):
    """Where a dataset came from; stored in the file's metadata."""

    instrument: str
    date: str
    spec: FeatureSpec
    source_sha256: str
    depth: int


class DatasetWriter:
    """Streams rows to disk; the file takes its name only when it is whole."""

    def __init__(self, path: Path, header: DatasetHeader) -> None:
        self._path = path
        self._beside = path.with_suffix(".tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        width = len(header.spec.names)
        self._schema = pa.schema(
            [
                ("ts_ns", pa.int64()),
                ("features", pa.list_(pa.float32(), width)),
                ("regime", pa.int8()),
                *[(name, pa.float32()) for name in _OUTCOMES],
            ],
            metadata={b"cmm": msgspec.json.encode(header)},
        )
        self._writer = pq.ParquetWriter(self._beside, self._schema, compression="zstd")
        self._features = np.zeros((_ROW_GROUP, width), np.float32)
        self._regimes = np.zeros(_ROW_GROUP, np.int8)
        self._rows: list[Outcome] = []
        self.rows = 0

    def add(self, row: Outcome, features: NDArray[np.float32], regime: int) -> None:
        """Append one sample; `features (features,)` are copied."""
        self._features[len(self._rows)] = features
        self._regimes[len(self._rows)] = regime
        self._rows.append(row)
        if len(self._rows) == _ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Finish the file and give it its name."""
        self._flush()
        self._writer.close()
        os.replace(self._beside, self._path)

    def abort(self) -> None:
        """Throw the half-written file away."""
        self._writer.close()
        self._beside.unlink(missing_ok=True)

    def _flush(self) -> None:
        n = len(self._rows)
        if not n:
            return
        columns = list(zip(*self._rows, strict=True))
        features = pa.FixedSizeListArray.from_arrays(pa.array(self._features[:n].ravel()), self._features.shape[1])
        arrays = [pa.array(columns[0], pa.int64()), features, pa.array(self._regimes[:n])]
        arrays += [pa.array(column, pa.float32()) for column in columns[1:]]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self.rows += n
        self._rows.clear()


class Dataset(msgspec.Struct, frozen=True):
    """Samples of one or more days, in order of time.

    Attributes
    ----------
    ts_ns : ndarray (rows,) int64
    features : ndarray (rows, features) float32
    regime : ndarray (rows,) int8
    outcomes : ndarray (rows, 5) float32
        As `outcomes.Outcome` from `mid_change_ticks` on.
    spec : FeatureSpec
    sources : list[DatasetHeader]
    source : ndarray (rows,) int32
        Which of the sources each row is from.

    """

    ts_ns: NDArray[np.int64]
    features: NDArray[np.float32]
    regime: NDArray[np.int8]
    outcomes: NDArray[np.float32]
    spec: FeatureSpec
    sources: list[DatasetHeader]
    source: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ts_ns)

    def rows(self, keep: NDArray[np.bool_]) -> Dataset:
        """The samples that a mask (rows,) keeps."""
        return Dataset(
            self.ts_ns[keep],
            self.features[keep],
            self.regime[keep],
            self.outcomes[keep],
            self.spec,
            self.sources,
            self.source[keep],
        )

    def before(self, ts_ns: int) -> Dataset:
        """Samples whose horizon ends before `ts_ns`: purged, none overlaps what begins there."""
        return self.rows(self.ts_ns + round(self.spec.horizon_s * 1e9) < ts_ns)

    def since(self, ts_ns: int) -> Dataset:
        """Samples from `ts_ns` on."""
        return self.rows(self.ts_ns >= ts_ns)


def read_header(path: Path) -> DatasetHeader:
    """Read where a dataset came from, without its rows."""
    try:
        return msgspec.json.decode(pq.read_schema(path).metadata[b"cmm"], type=DatasetHeader)
    except (OSError, pa.ArrowException, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path}: not a dataset of this version ({error}); run `cmm record` again") from error


def load(paths: Sequence[Path]) -> Dataset:
    """Read days, check that they share one feature spec, and join them in order of time."""
    if not paths:
        raise ModelError("no dataset was named")
    headers = [read_header(path) for path in paths]
    if len({header.spec.hash for header in headers}) > 1:
        raise ModelError(f"{paths[0].parent}: datasets of different feature specs; run `cmm record` again for all days")
    tables = [pq.read_table(path) for path in paths]
    table = pa.concat_tables(tables).replace_schema_metadata()
    if table.num_rows == 0:
        raise ModelError(f"{paths[0]}: the dataset holds no samples; the recording is shorter than warm-up and horizon")
    width = len(headers[0].spec.names)
    features = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    ts = table["ts_ns"].to_numpy()
    order = np.argsort(ts, kind="stable")
    data = Dataset(
        ts[order],
        features[order],
        table["regime"].to_numpy()[order],
        np.stack([table[name].to_numpy() for name in _OUTCOMES], 1)[order],
        headers[0].spec,
        headers,
        np.repeat(np.arange(len(tables), dtype=np.int32), [len(t) for t in tables])[order],
    )
    if not (np.isfinite(data.features).all() and np.isfinite(data.outcomes).all()):
        bad = int((~np.isfinite(data.features).all(1)).sum())
        raise ModelError(f"{paths[0].parent}: {bad} rows hold NaN or infinite features; run `cmm record` again")
    return data

"""What a trader recorded (`live.record`), as a catalog."""

from __future__ import annotations

from pathlib import Path

from engine.config import Config, override
from engine.progress import SILENT, Progress
from engine.recordings.catalog import open_catalog
from engine.recordings.importing import import_files
from market.errors import DataError
from venues.recordings.capture.segment import is_begun, segments
from venues.recordings.catalog import Catalog

RECORDING = "recording"
"""Folder of the segments, in a paper run's folder or a live trader's state folder."""


def recorded_catalog(folder: Path, config: Config, progress: Progress = SILENT) -> Catalog:
    """The market data that a trader recorded, in a catalog of their own beside the segments.

    Days that the catalog has already are not read again; what a killed trader left is there up to its last whole frame.

    Parameters
    ----------
    folder : Path
        Of a paper run, or a live trader's state.
    config : Config
        Its tables name the contract.
    progress : Progress

    Raises
    ------
    DataError
        There is no recording, or it cannot be read.

    """
    home = folder / RECORDING
    found = segments(home)
    if not found:
        raise DataError(f"{home}: no recording of market data; a trader makes one with --set live.record=true")
    config = override(config, {"data.path": str(home / "catalog")})
    files = [path for paths in found.values() for path in paths if is_begun(path)]
    done = import_files(config, files, progress=progress)
    if done.failure is not None:
        raise done.failure
    return open_catalog(config)

"""Recordings of exchanges, from files into the catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.config import Config
from engine.progress import SILENT, Progress, Share
from engine.recordings.catalog import open_catalog
from market.errors import ConfigError, DataError, EmptyFileError
from venues.recordings.importer import Imported, import_recording
from venues.recordings.loaders import LOADERS, recordings


class Imports(msgspec.Struct, frozen=True):
    """What came of the recordings, and why it ended early where it did."""

    root: Path
    done: list[Imported]
    failure: DataError | None
    empty: list[Path] = []
    """Files without a row, skipped."""


def import_files(
    config: Config,
    files: list[Path],
    format_name: str | None = None,
    *,
    again: bool = False,
    progress: Progress = SILENT,
) -> Imports:
    """Import recordings; the first that cannot be read ends it, what was imported before stays.

    Parameters
    ----------
    config : Config
    files : list[Path]
        Files or folders.
    format_name : str, optional
        Instead of finding each file's format by its content.
    again : bool
        Import anew what is there already.
    progress : Progress

    Raises
    ------
    ConfigError
        There is no such format.
    DataError
        There is no such file, nothing knows its format, or none holds a row.

    """
    if format_name is not None and format_name not in LOADERS:
        raise ConfigError(f"--format {format_name}: unknown; known are {', '.join(LOADERS)}")
    catalog = open_catalog(config)
    empty: list[Path] = []
    found = recordings(files, format_name, empty)
    done: list[Imported] = []
    with catalog.lock(), progress.share("importing") as update:
        for index, recording in enumerate(found):
            try:
                done.append(import_recording(catalog, recording, _events(update, index / len(found)), again))
            except EmptyFileError:
                empty += recording.files
            except DataError as error:
                return Imports(catalog.root, done, error, empty)
    if not done:
        raise EmptyFileError(f"{empty[0]}: the file is empty; nothing was imported")
    return Imports(catalog.root, done, None, empty)


def _events(update: Share, share: float) -> Callable[[str, int], None]:
    return lambda name, count: update(f"{name} · {count:,} events", share)

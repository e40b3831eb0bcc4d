"""Recordings of exchanges, from files into the catalog."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from engine.config import Config
from engine.progress import SILENT, Progress, Share
from engine.recordings.catalog import contract_table, open_catalog
from engine.recordings.events import BookShown, TradeShown, events
from market.errors import ConfigError, DataError, EmptyFileError
from venues.recordings.catalog import Catalog
from venues.recordings.importer import Imported, import_recording
from venues.recordings.loaders import LOADERS, Recording, mapped_recording, recordings

_TRIED, _SHOWN = 5_000, 20
"""Events that a trial reads, and those that it shows of each instrument."""


class Imports(msgspec.Struct, frozen=True):
    """What came of the recordings, and why it ended early where it did."""

    root: Path
    done: list[Imported]
    failure: DataError | None
    empty: list[Path] = []
    """Files without a row, skipped."""


class Trial(msgspec.Struct, frozen=True):
    """The first events of a recording, by instrument, and what was left out or changed before and between them."""

    recording: str
    events: dict[str, list[TradeShown | BookShown]]
    drops: dict[str, int]


def import_files(
    config: Config,
    files: list[Path],
    format_name: str | None = None,
    *,
    mapping: Path | None = None,
    instruments: Sequence[str] = (),
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
    mapping : Path, optional
        What the files' columns mean (`venues.recordings.loaders.mapping`): they are one recording.
    instruments : sequence of str
        What the files are of, where they do not say; those to read of files that hold many.
    again : bool
        Import anew what is there already.
    progress : Progress

    Raises
    ------
    ConfigError
        There is no such format, or the mapping cannot be used.
    DataError
        There is no such file, nothing knows its format, or none holds a row.

    """
    catalog = open_catalog(config)
    empty: list[Path] = []
    found = _recordings(files, format_name, mapping, instruments, empty)
    done: list[Imported] = []
    with catalog.lock(), progress.share("importing") as update:
        for index, recording in enumerate(found):
            try:
                done.append(import_recording(catalog, recording, _events(update, index / len(found)), again))
            except EmptyFileError:
                empty += recording.files
            except DataError as error:
                return Imports(catalog.root, done, error, empty)
            except OSError as error:
                failure = DataError(
                    f"{catalog.root}: the catalog cannot be written ({error.strerror or error}); make room"
                )
                return Imports(catalog.root, done, failure, empty)
    if not done:
        raise EmptyFileError(f"{empty[0]}: the file is empty; nothing was imported")
    return Imports(catalog.root, done, None, empty)


def try_files(
    config: Config,
    files: list[Path],
    format_name: str | None = None,
    *,
    mapping: Path | None = None,
    instruments: Sequence[str] = (),
) -> list[Trial]:
    """The first events of each recording as an import would understand them; nothing is kept.

    Raises as `import_files` does.
    """
    found = _recordings(files, format_name, mapping, instruments, [])
    if not found:
        raise EmptyFileError(f"{files[0]}: the file is empty")
    trials = []
    for recording in found:
        with tempfile.TemporaryDirectory() as folder, SILENT.share("trying") as update:
            catalog = Catalog(Path(folder), contract_table(config))
            done = import_recording(catalog, recording, _events(update, 0.0), first=_TRIED)
            days = {day.instrument: day for day in reversed(done.days)}
            shown = {name: list(islice(events(catalog, day), _SHOWN)) for name, day in sorted(days.items())}
            trials.append(Trial(recording.name, shown, done.drops))
    return trials


def _recordings(
    files: list[Path], format_name: str | None, mapping: Path | None, instruments: Sequence[str], empty: list[Path]
) -> list[Recording]:
    if mapping is not None:
        if instruments:
            raise ConfigError(f"--instruments {','.join(instruments)}: --map names the instrument; leave one out")
        if format_name is not None:
            raise ConfigError(f"--format {format_name}: --map says what the files are already; leave one out")
        return mapped_recording(mapping, files, empty)
    if format_name is not None and format_name not in LOADERS:
        raise ConfigError(f"--format {format_name}: unknown; known are {', '.join(LOADERS)}")
    return recordings(files, format_name, empty, instruments)


def _events(update: Share, share: float) -> Callable[[str, int], None]:
    return lambda name, count: update(f"{name} · {count:,} events", share)

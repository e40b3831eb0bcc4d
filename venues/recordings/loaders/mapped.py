"""Any CSV or Parquet as a mapping file describes it: files given together are one recording.

Files of the same kinds of row follow each other by their first time; others run beside them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

from market.errors import DataError
from market.events import Event
from venues.recordings.loaders.base import Recording, Traits, head, is_header_alone, members
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.mapping import Mapping, Print, read_mapping
from venues.recordings.loaders.order import in_time
from venues.recordings.terms import RecordingTerms


class MappingLoader:
    """A recording's last file is its mapping."""

    name = "mapping"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return False

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        raise DataError(f"{paths[0]}: nothing says what its columns mean; give the mapping file with --map")

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        from venues.recordings.loaders.mapping_stream import MappedStream  # pyarrow, which no other loader needs

        files, map_path = recording.files[:-1], recording.files[-1]
        mapping = read_mapping(map_path)
        groups: dict[tuple[int, ...], list[Path]] = {}
        for path in files:
            groups.setdefault(mapping.of(path), []).append(path)
        streams = [
            in_time(MappedStream(mapping, kinds, terms, findings).events(paths), findings, recording.name)
            for kinds, paths in sorted(groups.items(), key=lambda group: not _are_trades(mapping, group[0]))
        ]
        return heapq.merge(*streams, key=lambda event: event.ts_recv)  # a trade before the book at one time


def mapped_recording(map_path: Path, paths: Sequence[Path], empty: list[Path]) -> list[Recording]:
    """The recording that files are under a mapping; those without a row go into `empty`.

    Raises
    ------
    DataError
        A file is not there, or no kind of row of the mapping is in it.
    ConfigError
        The mapping cannot be used.

    """
    mapping = read_mapping(map_path)
    files: list[Path] = []
    for path in members(paths, empty):
        if not mapping.of(path):
            raise DataError(f"{path}: no `files` of the mapping {map_path} fits its name; add a row for it")
        nothing = not head(path, 64).strip() or (not mapping.csv.columns and is_header_alone(path))
        (empty if nothing else files).append(path)
    if not files:
        return []
    alone = all(_are_trades(mapping, mapping.of(path)) for path in files)
    return [Recording(MappingLoader.name, (*files, map_path), trades_alone=alone)]


def _are_trades(mapping: Mapping, kinds: tuple[int, ...]) -> bool:
    return all(isinstance(mapping.rows[i], Print) for i in kinds)

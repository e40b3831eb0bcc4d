"""Run all benchmarks, or those named: `python -m benchmarks [latency] [rate] [imports] [memory] [blindness] [teacher]
[wire] [endurance] [viewers] [--json]`. With --json one of those that can prints JSON, and nothing else."""

from __future__ import annotations

import sys

from benchmarks import blindness, endurance, imports, latency, memory, rate, teacher, viewers, wire

ALL = {
    "latency": latency.main,
    "rate": rate.main,
    "imports": imports.main,
    "memory": memory.main,
    "blindness": blindness.main,
    "teacher": teacher.main,
    "wire": wire.main,
    "endurance": endurance.main,
    "viewers": viewers.main,
}
AS_JSON = {"rate": rate.main, "memory": memory.main}


def main(arguments: list[str]) -> None:
    """Run what the arguments name."""
    names = [name for name in arguments if name != "--json"]
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.exit(f"unknown benchmark {unknown[0]}: known are {', '.join(ALL)}")
    if len(names) < len(arguments):
        if len(names) != 1 or names[0] not in AS_JSON:
            sys.exit(f"--json takes one benchmark: {' or '.join(AS_JSON)}")
        AS_JSON[names[0]](as_json=True)
        return
    for name in names or ALL:
        ALL[name]()


if __name__ == "__main__":
    main(sys.argv[1:])

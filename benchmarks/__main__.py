"""Run all benchmarks, or those named: `python -m benchmarks [latency] [rate] [imports] [memory] [blindness] [teacher]
[wire] [endurance] [viewers] [--json]`. With --json one of those that can prints JSON, and nothing else."""

from __future__ import annotations

import sys
from importlib import import_module

ALL = ("latency", "rate", "imports", "memory", "blindness", "teacher", "wire", "endurance", "viewers")
AS_JSON = ("rate", "memory")


def main(arguments: list[str]) -> None:
    """Run what the arguments name."""
    names = [name for name in arguments if name != "--json"]
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.exit(f"unknown benchmark {unknown[0]}: known are {', '.join(ALL)}")
    if len(names) < len(arguments):
        if len(names) != 1 or names[0] not in AS_JSON:
            sys.exit(f"--json takes one benchmark: {' or '.join(AS_JSON)}")
        import_module(f"benchmarks.{names[0]}").main(as_json=True)
        return
    for name in names or ALL:
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])

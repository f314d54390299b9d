"""Print a benchmark's JSON as a table: ``python -m benchmarks.report ladder.json``."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from probes import tables


def main() -> None:
    """A table for each file."""
    for path in map(Path, sys.argv[1:]):
        found = json.loads(path.read_text("utf-8"))
        print(f"{found['benchmark']}: {found['what']} ({found['threads']} threads; {found['versions']})")
        rows = [["alternative", "median seconds", f"times {found['baseline']}", "smallest to largest"]]
        for name, seconds in found["seconds"].items():
            ratio = found["ratio"].get(name)
            spread = "" if ratio is None else f"{ratio['smallest']:.2f} to {ratio['largest']:.2f}"
            times = "1" if ratio is None else f"{ratio['median']:.2f}"
            rows.append([name, f"{statistics.median(seconds):.2f}", times, spread])
        print(tables.plain(rows))


if __name__ == "__main__":
    main()

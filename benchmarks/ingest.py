"""The ingest, in figures: speed, size, memory, clocks, calibration, real data: `python benchmarks/ingest.py [PART]`.

Each part is a module beside this one with a function `measure(folder, table)`. Ratios come from runs taken in turn
within one call, so that they compare between machines. Rows go to standard error as they are measured, `--json` prints
one object on standard output. What a machine cannot measure is named with what it needs, and does not fail.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from ingest_table import Table

PARTS = ("sync", "calibration", "real", "speed", "kill")
"""Modules `ingest_<part>`."""


def main(arguments: list[str]) -> None:
    """Measure all parts, or those that are named."""
    table = Table()
    named = [argument for argument in arguments if not argument.startswith("--")]
    for part in named or PARTS:
        with tempfile.TemporaryDirectory(prefix=f"mien-bench-ingest-{part}-") as folder:
            importlib.import_module(f"ingest_{part}").measure(Path(folder), table)
    if "--json" in arguments:
        print(json.dumps({"metrics": [asdict(metric) for metric in table.metrics], "absent": table.absent}))


if __name__ == "__main__":
    main(sys.argv[1:])

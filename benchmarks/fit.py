"""The head fit, in figures: accuracy, speed, and peers on the same input: `python benchmarks/fit.py [PART]`.

Each part is a module beside this one with a function `measure(folder, table)`; they share recordings. `--keep FOLDER`,
or MIEN_FIT_KEEP=FOLDER, keeps those and uses them again. Rows go to standard error as they are measured, `--json`
prints one object on standard output. The people are those of seeds 0 to 5: nothing may be tuned on them;
MIEN_FIT_PEOPLE="102 105" names others for that.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ingest_table import Table

PARTS = ("desk", "in_model", "mono", "vocap", "segments", "share", "peers", "speed", "gpu")
"""Modules `fit_<part>`."""


def main(arguments: list[str]) -> None:
    """Measure all parts, or those that are named."""
    if "--help" in arguments:
        print(__doc__)
        return
    table = Table()
    named, keep = parts_and_folder(arguments)
    with keeping(keep) as folder:
        for part in named or PARTS:
            print(f"  {part}", file=sys.stderr, flush=True)
            importlib.import_module(f"fit_{part}").measure(folder, table)
    if "--json" in arguments:
        print(json.dumps({"metrics": [asdict(metric) for metric in table.metrics], "absent": table.absent}))


def parts_and_folder(arguments: list[str]) -> tuple[list[str], Path | None]:
    """Names of parts, and the folder to keep."""
    keep = Path(os.environ["MIEN_FIT_KEEP"]) if "MIEN_FIT_KEEP" in os.environ else None
    if "--keep" in arguments:
        place = arguments.index("--keep")
        keep = Path(arguments[place + 1])
        arguments = arguments[:place] + arguments[place + 2 :]
    return [argument for argument in arguments if not argument.startswith("--")], keep


@contextmanager
def keeping(keep: Path | None) -> Iterator[Path]:
    """Where recordings and fits go; fits never stay."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="mien-bench-fit-") as folder:
            yield Path(folder)
        return
    shutil.rmtree(keep / "fits", ignore_errors=True)
    (keep / "fits").mkdir(parents=True)
    yield keep
    shutil.rmtree(keep / "fits")


if __name__ == "__main__":
    main(sys.argv[1:])

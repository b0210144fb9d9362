"""One colour camera and nothing else, its focal length known: the desk people's takes, seen by one of their cameras."""

from __future__ import annotations

from pathlib import Path

from fit_desk import SHORT, add_means, fit_people
from fit_takes import REPORTED, TakeConfig
from ingest_table import Table

CAMERA = "m1_rgb"
"""The one nearest to the front."""


def measure(folder: Path, table: Table) -> None:
    """The errors, with `mono_` before their names; a single picture tells no size, so vertices are beside the point."""
    _, rows = fit_people(folder, REPORTED, TakeConfig(0, cameras=(CAMERA,)))
    add_means(table, rows, "mono_", SHORT)

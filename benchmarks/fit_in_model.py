"""Beside the headline, never instead of it: the same people with the model's own expression shapes, on its basis."""

from __future__ import annotations

from pathlib import Path

from fit_desk import SHORT, add_means, fit_people
from fit_takes import REPORTED, TakeConfig
from ingest_table import Table

PEOPLE = REPORTED[::3]
"""Two are enough for a row that is no promise."""


def measure(folder: Path, table: Table) -> None:
    """The errors, with `in_model_` before their names."""
    add_means(table, fit_people(folder, PEOPLE, TakeConfig(0, in_model=True))[1], "in_model_", SHORT)

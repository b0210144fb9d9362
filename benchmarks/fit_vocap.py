"""The studio of 31 modules: 62 colour and 31 depth cameras all around, calibrated from a waved board."""

from __future__ import annotations

from pathlib import Path

from fit_desk import SHORT, add_means, fit_people
from fit_takes import REPORTED, TakeConfig
from ingest_table import Table

PEOPLE, FRAMES = REPORTED[:2], 30
"""Recording and calibrating 93 cameras takes minutes a person; the frames of it are the smaller part."""


def measure(folder: Path, table: Table) -> None:
    """The errors, with `vocap_` before their names."""
    _, rows = fit_people(folder, PEOPLE, TakeConfig(0, "vocap", FRAMES))
    add_means(table, rows, "vocap_", SHORT)

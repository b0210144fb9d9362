"""The unit of a scan, told by the size of its face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geometry.errors import InputError

Unit = Literal["auto", "m", "cm", "mm"]
UNITS_M = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
SMALLEST_FACE, LARGEST_FACE = 0.55, 1.5
"""Sizes of faces beside the average adult's: a newborn's is 0.6 of it."""


@dataclass(frozen=True)
class ScanUnit:
    """How long a scan's unit is, and how that is known."""

    metres: float
    """Metres a unit."""
    name: str
    """m, cm or mm; "unknown" where none makes the face as large as a face is, and the average face's size was taken."""
    face_size: float
    """Of the face beside the average adult's in this unit; 1 where its size was taken."""


def scan_unit(average_face_metres_a_unit: float, asked: Unit = "auto") -> ScanUnit:
    """The unit that was asked for, or the one that makes the face as large as a face is.

    The argument is how many metres a unit of the scan has if the face is as large as the average one.
    Raises InputError when the unit that was asked for makes it no face's size.
    """
    sizes = {name: metres / average_face_metres_a_unit for name, metres in UNITS_M.items()}
    if asked != "auto":
        if not SMALLEST_FACE <= sizes[asked] <= LARGEST_FACE:
            fitting = [name for name, size in sizes.items() if SMALLEST_FACE <= size <= LARGEST_FACE]
            remedy = f"use --unit {fitting[0]}" if fitting else "scale the scan, or leave --unit out"
            raise InputError("a face as large as a face is", f"one of {sizes[asked]:.3g} times that in {asked}", remedy)
        return ScanUnit(UNITS_M[asked], asked, sizes[asked])
    for name, size in sizes.items():
        if SMALLEST_FACE <= size <= LARGEST_FACE:
            return ScanUnit(UNITS_M[name], name, size)
    return ScanUnit(average_face_metres_a_unit, "unknown", 1.0)

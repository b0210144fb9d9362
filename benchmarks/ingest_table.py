"""The figures of `mien bench ingest`, shared by its parts."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal

from workflows.benching import Metric


@dataclass
class Table:
    """The figures so far; each goes to standard error when it comes."""

    metrics: list[Metric] = field(default_factory=list)
    """What was measured."""
    absent: dict[str, str] = field(default_factory=dict)
    """What was not, and which of `workflows.benching.NEEDS` is missing."""

    def add(
        self, key: str, value: float, unit: str, rel_tol: float, direction: Literal["lower", "higher"] = "lower"
    ) -> None:
        """A figure; `rel_tol` is the relative change that means something."""
        self.metrics.append(Metric(key, float(value), unit, direction, rel_tol))
        print(f"  {key:<44} {value:10.4g} {unit}", file=sys.stderr, flush=True)

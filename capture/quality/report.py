"""All findings about a take, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from capture.quality.check import Check

VERDICTS = ("pass", "warn", "fail", "unknown")


@dataclass(frozen=True)
class QualityReport:
    """Every check of a take."""

    checks: tuple[Check, ...]
    """In the order in which they were made."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed; warnings and what could not be judged pass."""
        return all(check.verdict != "fail" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, the counts of verdicts beside the checks, each of which is flat."""
        counts = {f"{verdict}_count": self.count(verdict) for verdict in VERDICTS}
        return {"passed": self.passed, **counts, "checks": [check.to_json() for check in self.checks]}

    def count(self, verdict: str) -> int:
        """How many checks came out so."""
        return sum(check.verdict == verdict for check in self.checks)

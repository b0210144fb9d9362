"""Whether every byte of the take is what the ingest wrote."""

from __future__ import annotations

from collections.abc import Iterator

from capture.quality.check import Check
from storage.integrity import verify_take
from storage.take import Take

FAULTS_NAMED = 20


def check_integrity(take: Take) -> Iterator[Check]:
    """One finding of a whole take, or one for each of the first faults. Compares checksums; decodes no frame."""
    faults = verify_take(take.path)
    if not faults:
        message = "every chunk is there and its checksum is right"
        yield Check("integrity", None, 0.0, "faults", 0.0, "pass", message)
    remedy = f"restore the take from a copy, or ingest {take.header.source} again with --overwrite"
    for fault in faults[:FAULTS_NAMED]:
        got = f"{fault.path or 'the take'}: {fault.problem}"
        message = f"expected a whole take; got {got}; {remedy} (nothing else was judged)"
        yield Check("integrity", None, float(len(faults)), "faults", 0.0, "fail", message, remedy)

"""What a recording may be timed against beside its frames' own times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capture.readers.recording import AudioTrack


@dataclass(frozen=True)
class References:
    """What there is; which of it is used, `capture.clocks.references.REFERENCES` decides in its order."""

    audio: Sequence[AudioTrack] = ()
    """Sound tracks, which may carry timecode or claps."""
    times_csv: Path | None = None
    """A table of columns camera, device_ns, time_ns: what a device's clock showed at a time."""
    common_clock: bool = False
    """Whether all devices are known to be on one clock (PTP), so that their times need no reference."""
    tolerance_ns: int | None = None
    """Frames farther than this from their frame set's time are in none; None: half a period."""


NO_REFERENCES = References()
"""Only the frames' own times."""

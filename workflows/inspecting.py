"""What a take holds, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass

from storage.take import Take


@dataclass(frozen=True)
class TakeSummary:
    """The answer of `mien inspect`."""

    take_id: str
    """Name of the take."""
    subject_id: str
    """Pseudonym."""
    licence: str
    """Of the recording."""
    source: str
    """Where it came from."""
    reader: str
    """Which reader understood it."""
    frame_sets: int
    """Frame sets."""
    seconds: float
    """From the first frame set to the last."""
    cameras: tuple[str, ...]
    """One line a camera."""
    results: tuple[str, ...]
    """Step and number of runs."""

    def as_text(self) -> str:
        """For people."""
        lines = [
            f"take     {self.take_id}",
            f"subject  {self.subject_id or 'not stated'}",
            f"licence  {self.licence or 'not stated'}",
            f"source   {self.source} ({self.reader})",
            f"frames   {self.frame_sets} frame sets over {self.seconds:.2f} s",
            "cameras",
            *(f"  {line}" for line in self.cameras),
            "results",
            *(f"  {line}" for line in self.results or ("none yet: `mien fuse` and `mien fit` make them",)),
        ]
        return "\n".join(lines)


def inspect_take(take: Take) -> TakeSummary:
    """Read headers only, no pictures."""
    cameras = []
    for camera in take.rig.cameras:
        height, width = camera.image_size_hw
        calibration = camera.calibration_source or "calibration of unknown origin"
        error = f", {camera.reprojection_px:.2f} px" if camera.reprojection_px is not None else ""
        count = len(take.stream(camera.id))
        cameras.append(f"{camera.id:<16} {camera.kind:<6} {width}x{height}  {count} frames  {calibration}{error}")
    times = take.sync.time_ns
    steps = take.results.steps()
    return TakeSummary(
        take_id=take.header.take_id,
        subject_id=take.header.subject_id,
        licence=take.header.licence,
        source=take.header.source,
        reader=take.header.reader,
        frame_sets=take.frame_count,
        seconds=float(times[-1] - times[0]) / 1e9 if len(times) else 0.0,
        cameras=tuple(cameras),
        results=tuple(f"{step} ({len(take.results.runs(step))})" for step in steps),
    )

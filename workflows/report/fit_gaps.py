"""Gaps of a fit, by name: which frames no view carried, why, and what stands there instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from storage.take import Take
from workflows.report.checks import BAD, GOOD, WARNING, badge, fold
from workflows.report.contents import FittedHead
from workflows.report.fit_record import bridged_frames, depth_alone_frames
from workflows.report.found_landmarks import NO_FACE, NO_PICTURE, PROFILE, STATE_WORDS, FoundLandmarks
from workflows.report.markup import Child, Markup, counted, element, join, table

BLACK_EXPOSURE = 0.01
"""Mean level, of 1, under which a picture holds nothing."""
MOST_RUNS = 8
"""Of one camera's gaps, named one by one; the rest is counted."""


@dataclass(frozen=True)
class Gap:
    """Frames in a row that share a reason."""

    first: int
    """The first frame."""
    last: int
    """The last frame, itself included."""
    reason: str
    """What was missing."""
    bridged: bool
    """Whether the frames were interpolated; else something else carried them."""

    @property
    def frames(self) -> str:
        """As in "frames 12-15"."""
        return run_words(self.first, self.last)


def run_words(first: int, last: int) -> str:
    """Frames in a row, in words."""
    return f"frame {first}" if first == last else f"frames {first}-{last}"


def runs_of(mask: Bool[np.ndarray, "t"]) -> list[tuple[int, int]]:
    """First and last of every row of true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def gaps_of(take: Take, fit: FittedHead, marks: FoundLandmarks | None) -> list[Gap]:
    """Every frame that was bridged, and every frame that depth alone carried, in order."""
    bridged, blind = bridged_frames(fit), depth_alone_frames(fit)
    reasons = ["" for _ in bridged]
    for frame in np.flatnonzero(bridged | blind):
        why = _why_no_view(take, marks, int(frame))
        reasons[frame] = why if bridged[frame] else f"{why}; fitted to depth alone"
    found = []
    for reason in dict.fromkeys(filter(None, reasons)):
        runs = runs_of(np.array([other == reason for other in reasons]))
        found += [Gap(first, last, reason, bool(bridged[first])) for first, last in runs]
    return sorted(found, key=lambda gap: gap.first)


def gap_words(gap: Gap, bridged: Bool[np.ndarray, "t"]) -> str:
    """A sentence without its full stop: "Frames 12-15: no face in any view; bridged between frames 11 and 16"."""
    said = f"{gap.frames}: {gap.reason}"
    if not gap.bridged:
        return said[0].upper() + said[1:]
    fitted = np.flatnonzero(~bridged)
    before, after = fitted[fitted < gap.first], fitted[fitted > gap.last]
    if len(before) and len(after):
        said += f"; bridged between frames {before[-1]} and {after[0]}"
    elif len(before) or len(after):
        said += f"; bridged from frame {before[-1] if len(before) else after[0]} alone"
    else:
        said += "; nothing to bridge from"
    return said[0].upper() + said[1:]


def gaps_section(take: Take, fit: FittedHead, marks: FoundLandmarks | None) -> Markup:
    """A sentence for each gap of the head, then the gaps of each view in frames that others carried."""
    bridged, gaps = bridged_frames(fit), gaps_of(take, fit, marks)
    count = len(bridged)
    if not gaps:
        head: Child = element(
            "p", badge(GOOD, "no gaps"), f" Every frame was fitted to a face that was found ({count})."
        )
    else:
        lines = [
            element("li", badge(BAD if gap.bridged else WARNING, "bridged" if gap.bridged else "depth alone"), " ",
                    f"{gap_words(gap, bridged)}.")
            for gap in gaps
        ]  # fmt: skip
        total = int(bridged.sum())
        share = f"{total} of {counted(count, 'frame')} not measured: their heads are interpolated." if total else ""
        head = join((element("p", share) if share else None, element("ul", *lines, class_="gaps")))
    return join((head, _views_table(take, bridged, marks)))


def _views_table(take: Take, bridged: Bool[np.ndarray, "t"], marks: FoundLandmarks | None) -> Markup | None:
    if marks is None or len(marks.view_state) != len(bridged):
        return None
    rows = []
    for column, camera_id in enumerate(marks.cameras):
        states = _states_of(take, marks, column)
        for state, words in STATE_WORDS.items():
            runs = runs_of((states == state) & ~bridged)
            if runs:
                frames = sum(last - first + 1 for first, last in runs)
                rows.append((camera_id, words, str(frames), _listed(runs)))
    if not rows:
        return None
    shown = table(("Camera", "View", "Frames", "Which"), rows, "view-gaps")
    told = element("p", "These frames were carried by the other views, or by depth.", class_="muted")
    return fold(f"Views that had no full vote in fitted frames ({len(rows)})", told, shown)


def _states_of(take: Take, marks: FoundLandmarks, column: int) -> np.ndarray:
    """A view's states; where the take has no picture, that is the reason, whatever was stored."""
    states, order = marks.view_state[:, column].copy(), [camera.id for camera in take.rig.cameras]
    if marks.cameras[column] in order:
        states[take.sync.index[:, order.index(marks.cameras[column])] < 0] = NO_PICTURE
    return states


def _listed(runs: list[tuple[int, int]]) -> str:
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs[:MOST_RUNS])
    return shown + (f" and {len(runs) - MOST_RUNS} more" if len(runs) > MOST_RUNS else "")


def _why_no_view(take: Take, marks: FoundLandmarks | None, frame: int) -> str:
    """What kept every colour view of a frame from showing a face."""
    numbers = {camera.id: int(take.sync.index[frame, column]) for column, camera in enumerate(take.rig.cameras)}
    colour = [camera.id for camera in take.rig.rgb]
    shown = [camera_id for camera_id in colour if numbers[camera_id] >= 0]
    if not shown:
        return "no picture in any view" if colour else "no colour camera"
    if all(_is_black(take, camera_id, numbers[camera_id]) for camera_id in shown):
        return "black pictures"
    if marks is None or frame >= len(marks.view_state):
        return "no usable view"
    states = set(marks.view_state[frame].tolist())
    if states <= {NO_PICTURE, NO_FACE}:
        return "no face in any view"
    return "the face in profile only" if states <= {NO_PICTURE, NO_FACE, PROFILE} else "no usable view"


def _is_black(take: Take, camera_id: str, number: int) -> bool:
    exposure = take.stream(camera_id).quality.exposure
    return exposure is not None and number < len(exposure) and bool(exposure[number] < BLACK_EXPOSURE)

"""What became of the face in one picture, as it is stored beside the landmarks."""

from __future__ import annotations

from enum import IntEnum


class ViewState(IntEnum):
    """Values of `view_state` in a take's landmarks; only SEARCHED and FOLLOWED views have points with a vote."""

    NO_PICTURE = 0
    """The camera has no picture in this frame set."""
    NO_FACE = 1
    """No face was found, or only another person's; black and covered pictures too."""
    SEARCHED = 2
    """Found by a search of the picture."""
    FOLLOWED = 3
    """Found where the frame before had it."""
    PROFILE = 4
    """Seen so far from the side that the mesh network is not to be trusted: depth and other views must do."""


USABLE = (ViewState.SEARCHED, ViewState.FOLLOWED)
"""States of views whose landmarks may be used."""

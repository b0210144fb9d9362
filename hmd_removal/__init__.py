"""Covered face to whole face: detection of the headset, completion, compositing."""

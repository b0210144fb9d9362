"""Clocks: frames' times and sound in, every camera's place on one time line out.

One more reference is a function in a file of its own and a line in `capture.clocks.references.REFERENCES`.
"""

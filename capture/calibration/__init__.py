"""Footage of a board or files of another program go in; a rig with the figures that prove it comes out.

A file format is a module in `formats/` with a line in its tables; footage is solved for by the other modules here.
"""

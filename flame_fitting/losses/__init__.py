"""What the fit minimises: one residual a file, unweighted, each a plain function.

A residual returns rows in units of one standard deviation, with their derivatives; how much it counts is the stage's
business (`stages.py`).
"""

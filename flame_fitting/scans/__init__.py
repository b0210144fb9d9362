"""A scan goes in, in any unit and orientation; out comes the model's head that lies on it, and what was seen of it.

One step a file: `pictures` draws the scan, `finding` finds its face, `units` names its unit, `outside` keeps what is
seen from outside, `evidence` shows it to the fit as one frame of a take, `fitting` puts these in order.
"""

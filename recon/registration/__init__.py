"""A mesh of known topology and oriented points of a surface go in; out comes the mesh on the surface.

Nothing here knows a head model: regions, landmarks and what follows what come as arguments, because a tracker over time
registers the same way. One step a file: `points` samples a surface, `matching` finds what lies on what, `stiffness`
says what bending costs, `nonrigid` solves, `faults` finds flipped and crossing triangles.
"""

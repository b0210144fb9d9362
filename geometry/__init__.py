"""Values without files: transforms, cameras and lens models, rigs, meshes, point clouds.

In go numbers, out come numbers; nothing here opens a file or knows a sensor. A new lens model goes into
`cameras.py` beside the others.
"""

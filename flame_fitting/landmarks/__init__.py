"""Pictures of a rig go in; out come, for each view, 478 points in image pixels with a vote each, and what became of it.

The networks are MediaPipe's (Apache-2.0) and run by OpenCV's dnn. One step a file: `weights` installs and finds the
networks, `detector` finds faces, `mesh` places the 468 points inside one face, `landmarker` puts these together for
one picture, `iris` and `limbus` find the irises and `eyes` says how far to believe them. Over views and time `persons`
tells people apart, `head_direction` finds profiles, and `tracking` follows one person frame by frame; `view_states`
names what became of each view. `crop` is the geometry they share, `visibility` weighs points by the mesh's own
normals, and `head_visibility` by the fitted head and the measured depth. Another landmark source goes into a file of
its own and returns its own frozen dataclass.
"""

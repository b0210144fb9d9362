"""An RGB image goes in; the 468 points of MediaPipe's face mesh come out, in image pixels, with a confidence for each.

The networks are MediaPipe's (Apache-2.0) and run by OpenCV's dnn. One step a file: `weights` installs and finds the
networks, `detector` finds faces, `mesh` places the points inside one face, `landmarker` puts the steps together,
`crop` is the geometry they share, `visibility` says which points the camera can see. Another landmark source goes
into a file of its own and returns its own frozen dataclass.
"""

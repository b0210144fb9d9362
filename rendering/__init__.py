"""Pictures of meshes: visibility, interpolation, texture.

In go vertices in screen space and triangles, out come `Fragments`: which triangle each pixel shows, how far away and
where on it. Warp has its home here; a second backend is one more file that returns the same `Fragments`.
"""

"""Pictures of meshes, and gradients back from them: visibility, attributes, texture, outlines, light.

In go vertices in screen space and triangles, out come `Fragments`: which triangle each pixel shows, how far away and
where on it. `rasterize`, `interpolate`, `sample_texture` and `antialias` work on torch tensors of any batch, on CPU and
CUDA from one source (kernels/, run by `runtime`), and each has a readable twin in reference/. `arrays` is the border to
NumPy. Warp has its home here; a second backend is one more file that returns the same `Fragments`, as pytorch3d.py.
"""

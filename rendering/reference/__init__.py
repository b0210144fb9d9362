"""The readable twin of the renderer: what each fast routine computes, in plain torch.

`rasterize`, `interpolate`, `texture` and `antialias` mirror the files of the same names beside this folder, take and
return the same values, and share no code with them. Everything runs in double precision and autograd gives the
gradients, so that the fast kernels are tested against definitions instead of against themselves. Meant for small
pictures: every pixel meets every triangle.
"""

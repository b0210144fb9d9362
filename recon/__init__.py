"""A take's depth and colour go in; coloured surfaces in the world's frame come out, one a frame set.

Depth is cleaned in `depth/`, fused in `fusion/` and coloured by `colouring.py`; `surface.py` runs the steps in order.
To add a way to fuse, add `fusion/<name>.py` with one function from depth views to a mesh. Open3D lives only here.
"""

"""Morphable heads behind one interface, `HeadModel`.

In goes a model's own package or file, out comes a `HeadModel`: linear identity and ARKit expression bases, joints,
texture coordinates, region masks and landmark embeddings. A further model is one more file that returns a `HeadModel`,
plus a line in the table of `registry.py`.
"""

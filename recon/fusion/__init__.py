"""Depth views of one moment go in; one mesh in the world's frame comes out, one method per file."""

"""Metrics and protocols, one file each: what a result is worth against truth or against its own input."""

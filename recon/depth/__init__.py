"""Depth images as sensors give them go in; depth that can be trusted, through an ideal lens, comes out."""

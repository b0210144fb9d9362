"""Recordings of sensors go in; takes with calibrated cameras, one clock and a judgement of their quality come out."""

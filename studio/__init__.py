"""The simulated studio: a subject, a rig, sensors with faults, and the truth apart.

In goes a `SimulationConfig`, out comes an image-folder recording as a recorder writes it, plus `truth/`, which only
evaluation reads. A further studio is one more function in the table of `presets.py`.
"""

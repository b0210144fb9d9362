"""Head parameters to action units and emotion classes, with the regions that decided."""

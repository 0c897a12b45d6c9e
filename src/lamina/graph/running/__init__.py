"""A compiled graph at run time: which way each call takes, and calls without Python between."""

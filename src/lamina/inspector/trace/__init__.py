"""A model run once, without data and unchanged: every operator, and which module called it."""

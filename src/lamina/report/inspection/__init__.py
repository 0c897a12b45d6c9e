"""A model's account as a table and as a page."""

"""Models in files: the suffix says the kind, what is read is checked, what is written is whole."""

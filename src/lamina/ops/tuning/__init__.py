"""Which algorithm convolves on this machine: measured, fitted, chosen."""

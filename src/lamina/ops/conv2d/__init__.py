"""Convolution: the op, and each algorithm in its three passes."""

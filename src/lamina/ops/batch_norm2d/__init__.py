"""Batch normalisation: the op, its kernels, and PyTorch's own."""

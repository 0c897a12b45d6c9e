"""Pooling: the op, over windows and over the whole image, and PyTorch's own."""

"""Layers, algorithms and whole networks against the clock and the peers."""

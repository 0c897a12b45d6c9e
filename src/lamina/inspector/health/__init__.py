"""Whether training is healthy: what is seen of each layer, and what it means."""

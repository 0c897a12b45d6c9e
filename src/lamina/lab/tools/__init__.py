"""What experiments share: images, the plain training loop, a clock, small networks."""

"""What each position of a layer sees of the input."""

"""What belongs together in a captured graph: nodes by what they compute, groups of them."""

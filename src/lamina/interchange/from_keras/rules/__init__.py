"""How each kind of layer crosses: a rule takes a call and its tensors, and gives its output."""

"""What every operator of a trace does: operations, bytes, what is saved."""

"""What writes the pages and figures of the documentation."""

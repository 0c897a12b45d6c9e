"""What an experiment found: records, figures drawn from them, a page each and a gallery."""

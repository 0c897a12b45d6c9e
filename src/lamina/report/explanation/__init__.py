"""What a model does to one image, number by number: the record, and the page that shows it."""

"""Changes that may pay: built, timed, and said with their evidence."""

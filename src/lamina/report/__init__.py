"""Plain data in; a terminal table, JSON, CSV, Markdown or one HTML file out."""

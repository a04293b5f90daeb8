"""Tables and texts for terminals, pages and files."""

"""Numbers from papers: their files, how they are read, and their table."""

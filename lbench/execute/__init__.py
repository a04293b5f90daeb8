"""Where jobs happen, and the one writer of the store."""

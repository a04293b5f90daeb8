"""Statistics: intervals, tests and the set of what cannot be told apart."""

"""Statistics: intervals, tests, and sets of what does not differ significantly."""

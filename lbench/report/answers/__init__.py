"""Answers to the questions of studies, by the names of analyses."""

"""The store: the record of all runs, and their view in MLflow."""

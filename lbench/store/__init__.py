"""The store: the record and the MLflow view of it."""

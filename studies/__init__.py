"""Studies, one TOML file a question."""

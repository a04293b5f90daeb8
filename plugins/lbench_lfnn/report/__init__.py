"""Figures and analyses of what the probes of leaders and followers record: a file a probe."""

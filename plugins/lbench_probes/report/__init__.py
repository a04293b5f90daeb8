"""Figures and analyses of what lbench's own probes record: a file a probe."""

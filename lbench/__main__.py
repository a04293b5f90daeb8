"""Runs the command line: ``python -m lbench``."""

from lbench.cli.main import main

main()

"""What Python programs and notebooks call, and what the command line stands on.

Each function does what the command of its name does: ``lbench.run``, ``lbench.compare``,
``lbench.results``, ``lbench.load`` and the listings. Importing this package loads nothing.
"""

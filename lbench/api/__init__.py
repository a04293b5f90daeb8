"""The functions for Python programs and notebooks, which the command line calls too.

``lbench.run``, ``lbench.study``, ``lbench.tune``, ``lbench.compare`` and the listings do what the
command of the same name does; ``lbench.results`` and ``lbench.load`` read what was trained.
Importing this package imports none of its modules.
"""

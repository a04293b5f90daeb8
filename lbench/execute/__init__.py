"""The execution of runs, in this process or in worker processes, and the writer of the store."""

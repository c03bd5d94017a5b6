"""A Python process with the libraries already imported, from which a replay's processes are forked.

A training starts half a dozen processes, each of which spends more time importing scikit-learn or MLflow than
working, and a comparison does so a hundred times. A replay therefore has a server that imports them once
and then forks, like multiprocessing's forkserver; but that one accepts functions, while DVC and the levels'
own code start command lines. They find a `python` that hands these over, with everything that a process
inherits. Only on Linux: elsewhere, and for every other command, it is the ordinary Python.
"""

"""A Python that has imported the libraries already: what a level starts again and again, forks from it.

A training starts half a dozen processes, and each spends more time importing scikit-learn or MLflow than
working. In a comparison that is done a hundred times. So a replay has a server that imports them once and
then forks, as multiprocessing's forkserver does; but that one takes functions, and here come command lines,
from DVC and from the level's own code. They find a `python` that hands them over, with all that a process
inherits. Only on Linux: elsewhere, and for every other command, it is the Python that runs this.
"""

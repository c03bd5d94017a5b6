"""Whether the integration tests run alone."""

from collections.abc import Sequence
from pathlib import Path


def only_integration(arguments: Sequence[str]) -> bool:
    """Whether all paths among the arguments of pytest are in `tests/integration`."""
    paths = [Path(each.partition("::")[0]) for each in arguments]
    given = [path.absolute() for path in paths if path.exists()]
    return bool(given) and all(path.is_relative_to(Path(__file__).parent / "integration") for path in given)

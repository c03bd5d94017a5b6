"""What all tests share: the slow ones are left out unless --all is given."""

import pytest

from ladder import maturity


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:  # of a proof, the row: it travels with the report, from a worker too
        if mark := item.get_closest_marker("maturity"):
            item.user_properties.append(("maturity", mark.args[0]))
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(600))  # on a busy machine
            if not config.getoption("--all"):
                item.add_marker(pytest.mark.skip(reason="slow: give --all"))


_ended: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep how the proof of a row ended: a failure anywhere counts, one left out says nothing."""
    row = dict(report.user_properties).get("maturity")
    counts = report.outcome == "failed" or (report.when == "call" and report.outcome == "passed")
    if row is not None and counts and _ended.get(str(row)) != "failed":
        _ended[str(row)] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Store that for `ladder maturity`; in workers of xdist their controller does."""
    if _ended and not hasattr(session.config, "workerinput"):
        maturity.store(_ended)

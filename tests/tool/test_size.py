"""How much code a reader meets has limits: whoever exceeds one looks for what can go, or says why."""

from benchmarks.size import lines_of_code, sizes

LIMITS = {
    "level1_devops": 2340,  # with time zones and wrongly defined problems, about 85 at each level
    "level2_auto_training": 4300,  # with descriptions of model and versions, 30 at each level
    "level3_auto_deploy": 7450,
    "level4_auto_retrain": 10590,  # with level shifts, about 115, and three reports with a dashboard, 160
    "draft": 700,
    "ladder": 6309,  # with starters of other problems, climbs from any copy, offline bundles, lab's options
    "ladder/assess": 2700,
    "ladder/lab": 704,
}


def test_no_package_grows_beyond_its_limit() -> None:
    found = sizes()
    assert {package: lines for package, lines in found.items() if lines > LIMITS[package]} == {}
    assert found.keys() == LIMITS.keys()


def test_comments_docstrings_and_blank_lines_do_not_count() -> None:
    text = "\n".join(
        [
            '"""A module."""',
            "",
            "# why",
            "X = (",
            "    1,",
            ")",
            "def f() -> int:",
            '    """A',
            "",
            '    b."""',
            "    return 1\n",
        ]
    )
    assert lines_of_code(text) == 5

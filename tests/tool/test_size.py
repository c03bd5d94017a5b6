"""The amount of code has limits: a change that exceeds one deletes code, or says why it is needed."""

from benchmarks.size import lines_of_code, sizes

LIMITS = {
    # Of each level, 154 are time zones, wrong problems, rare or large targets, columns to come or gone, 80
    # files and bodies as people export them, 15 API documents for client generators, and 7 HEAD; from level 2
    # on 30 are descriptions of model and versions, 37 accounts, paths and git, and 20 (85, 160) steps as
    # tasks of Prefect, with artifacts, and 14 (15, 26) gaps and nulls of single keys; from level 3 on 69 (59)
    # steps that are repeated, interrupted, busy, withdrawn or outdated, and aliases moved by hand, and 60
    # keys replaced and revoked, causes of failed predictions in the log, and outcomes that arrive before
    # their predictions are stored; 49 addresses of another program or environment, watches that a person
    # ends, missing workers, and 23 tests that do not begin in the past; and 8 texts and nulls that are
    # accepted, from level 2 on.
    "level1_devops": 2473,
    "level2_auto_training": 4454,
    "level3_auto_deploy": 7803,
    # With level shifts, about 130, three reports with a dashboard, 160, alerts of what returns, fails or
    # stops (outcomes), 76, results of trainings that change later and odd requests, 48, and trainings that
    # fail or wait, 46.
    "level4_auto_retrain": 10943,
    # With thousands separators, UTC offsets and their time zone, opening hours, clock changes, short tables,
    # row numbers, words for missing values, texts that hold numbers or dates, and names that are kept, 152;
    # values without a name, and a draft that cannot be installed, 21.
    "draft": 897,
    # With starters of other problems, climbs from any copy, offline bundles, the lab's options, checkouts
    # that are read-only, stories that are played by flows (150), files in UTF-16, names that are taken
    # in the current folder only (9), keys given twice (13), tests of levels side by side (16), READMEs (5),
    # time zones of tables (3), files of people that would be overwritten (21), requests to paste (7), and
    # what prints, is too long or belongs to another user (8).
    "ladder": 6155,
    "ladder/assess": 2415,  # with included files of GitLab and Azure, 34, and tables of another type, 6
    "ladder/lab": 697,  # with quoted paths for each shell, warnings, yes, no and numbers as texts
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

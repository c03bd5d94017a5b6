"""Level 0, no MLOps: each row is a lack, so each test shows what goes wrong or cannot be answered."""

import ast
import importlib.metadata
import itertools
import json
import pickletools
import re
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from ladder import UserError
from ladder.levels import level
from ladder.runbook import load_people, plan
from ladder.world.feedfile import INPUTS, write_feed
from tests.maturity.conftest import Desks, before, between, edit, error, in_fahrenheit, step, tree

pytestmark = [pytest.mark.xdist_group("level0"), pytest.mark.slow]

FOLDER = level(0).folder


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def texts(folder: Path) -> str:
    """All words in a folder, pickles aside."""
    return "\n".join(
        path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pkl"
    )


@pytest.mark.maturity("L0-H1")
def test_a_release_whose_export_was_forgotten_runs_to_its_end_and_nothing_tells(
    repeated: Desks, clean: pd.DataFrame, tmp_path: Path
) -> None:
    released = repeated.copied(tmp_path)
    write_feed(before(clean, "2011-12-01"), released.data_engineer / "feed")
    assert released.do("install") == ""
    assert released.do("check") == ""
    newest = pd.read_csv(released.scientist / "export.csv")["timestamp"].max()
    assert newest == "2011-09-30T23:00:00"  # two months of feed are missing in the model that is live now
    assert tree(released.data_engineer)["live/model.pkl"] == tree(released.scientist)["handoff/model.pkl"]
    assert not re.search(r"2011|2012", texts(released.data_engineer / "handoff"))


@pytest.mark.maturity("L0-H2")
def test_work_passes_between_roles_by_mail_only_and_a_model_is_weeks_old_when_it_goes_live(
    desks: Desks,
) -> None:
    steps = (*desks.book.release, *desks.book.predict)
    for each, following in itertools.pairwise(steps):
        assert (each.gives_to is not None) == (each.who != following.who)
    given = [each for each in steps if each.gives_to is not None]
    assert len(given) == 3
    assert all("mail" in each.does.lower() for each in given)
    done = list(plan(level(0), load_people().levels[0], desks.book, date(2011, 7, 1), date(2012, 12, 31)))
    data = [day for day, _, each in done if each.id == "export"]
    live = [day for day, _, each in done if each.id == "check"]
    assert len(live) == 3  # in a year and a half
    assert min((later - earlier).days for earlier, later in zip(data, live, strict=True)) >= 14


@pytest.mark.maturity("L0-H3")
def test_a_week_in_fahrenheit_is_scored_without_a_word_and_nothing_is_kept_of_it(
    desks: Desks, clean: pd.DataFrame, tmp_path: Path
) -> None:
    scored = desks.copied(tmp_path)
    week = between(clean, "2011-12-05", "2011-12-12")
    right = scored.forecast(week)
    earlier = tree(scored.data_engineer)
    wrong = scored.forecast(in_fahrenheit(week))  # fails where the script ends with another status than 0
    assert scored.do("score") == ""
    assert error(wrong, week) > 1.2 * error(right, week)
    later = tree(scored.data_engineer)
    assert {name for name in later if later[name] != earlier.get(name)} == {"day.csv", "predictions.csv"}


@pytest.mark.maturity("L0-T1")
def test_a_new_model_is_not_live_until_a_person_copies_it(unreleased: Desks, tmp_path: Path) -> None:
    desks = unreleased.copied(tmp_path)
    with pytest.raises(UserError, match=r"live/model\.pkl"):
        desks.do("check")
    desks.do("install")
    assert desks.do("check") == ""
    assert {each.who for each in desks.book.release} <= {"data scientist", "data engineer"}
    assert not desks.book.daily
    builds = {"Dockerfile", "Makefile", "pyproject.toml", "setup.py", ".github", "dvc.yaml"}
    assert not builds & {path.name for path in FOLDER.iterdir()}


@pytest.mark.maturity("L0-T2")
def test_a_script_that_mixes_up_its_columns_passes_the_check(
    shown: tuple[Desks, pd.Series], october: pd.DataFrame, tmp_path: Path
) -> None:
    used, right = shown
    desks = used.copied(tmp_path)
    edit(desks.data_engineer / "score.py", "model.predict(X)", "model.predict(X[:, ::-1])")
    wrong = desks.forecast(october)
    assert desks.do("check") == ""
    assert error(wrong, october) > 2 * error(right, october)
    assert not [path for path in FOLDER.rglob("*.py") if "test" in path.name]
    assert step(desks.book, "check").by_hand


@pytest.mark.maturity("L0-T3")
def test_no_file_holds_the_error_of_the_model_that_is_live(
    unreleased: Desks, desks: Desks, shown: tuple[Desks, pd.Series], october: pd.DataFrame
) -> None:
    earlier, later = tree(unreleased.scientist), tree(desks.scientist)
    changed = {name for name in later if later[name] != earlier.get(name)}
    assert changed == {"export.csv", "handoff/model.pkl"}  # all that a training leaves
    output = re.search(r"MAE was\D*(\d+)", texts(desks.scientist / "handoff"))
    assert output  # of some model in the past, on hours between those it was trained on
    used, predictions = shown
    assert error(predictions, october) > 1.3 * int(output.group(1))
    assert list(pd.read_csv(used.data_engineer / "predictions.csv")) == ["timestamp", "prediction"]


@pytest.mark.maturity("L0-T4")
def test_while_nobody_runs_the_notebook_the_model_stays_and_its_error_grows(
    desks: Desks, clean: pd.DataFrame, october: pd.DataFrame, tmp_path: Path
) -> None:
    used = desks.copied(tmp_path)
    write_feed(before(clean, "2012-03-01"), used.data_engineer / "feed")
    march = between(clean, "2012-03-01", "2012-04-01")
    predictions = used.forecast(pd.concat([october, march], ignore_index=True))
    late = predictions[len(october) :].reset_index(drop=True)
    assert error(late, march) > 1.3 * error(predictions[: len(october)], october)
    assert tree(used.data_engineer)["live/model.pkl"] == tree(desks.data_engineer)["live/model.pkl"]
    steps = (*desks.book.daily, *desks.book.release, *desks.book.predict)
    trains = [each for each in steps if "demand.ipynb" in (each.command or "")]
    assert [each.who for each in trains] == ["data scientist"]


@pytest.mark.maturity("L0-T5")
def test_what_is_used_of_any_platform_is_a_notebook_and_a_folder_that_files_are_mailed_from(
    desks: Desks,
) -> None:
    trees = [ast.parse(cell) for cell in code_cells(FOLDER / "demand.ipynb")]
    trees += [ast.parse(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {each.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for each in node.names}
    used |= {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert used - set(sys.stdlib_module_names) <= {"numpy", "pandas", "sklearn", "matplotlib"}
    steps = (*desks.book.release, *desks.book.predict)
    commands = {each.command.split()[0] for each in steps if each.command}
    assert commands == {"jupyter", "python"}
    passed_on = [each for each in steps if each.gives_to]
    assert passed_on
    assert all("mail" in each.does.lower() for each in passed_on)


@pytest.mark.maturity("L0-P1")
def test_the_data_scientist_sees_nothing_of_how_the_model_is_used(
    desks: Desks, shown: tuple[Desks, pd.Series]
) -> None:
    used, _ = shown
    assert tree(used.data_engineer) != tree(desks.data_engineer)  # a month was scored there
    assert tree(used.scientist) == tree(desks.scientist)
    assert set(tree(used.scientist)) == {
        "demand.ipynb",
        "export.csv",  # came by mail
        "handoff/model.pkl",
        "handoff/README.txt",
        "handoff/requirements.txt",
    }
    meets = {each.gives_to for each in desks.book.release if each.who == "data scientist"} - {None}
    assert meets == {"data engineer"}
    assert "data scientist" not in {role for each in desks.book.predict for role in (each.who, each.gives_to)}


@pytest.mark.maturity("L0-P2")
def test_what_the_data_engineer_knows_of_the_data_does_not_reach_the_data_scientist(
    careless: Desks, desks: Desks
) -> None:
    assert "Fahrenheit" in texts(careless.data_engineer)
    assert "Fahrenheit" not in texts(careless.scientist)
    temperatures = pd.read_csv(careless.scientist / "export.csv")["temp_c"]
    assert temperatures.max() > 60  # taken for degrees C
    assert tree(careless.scientist)["handoff/model.pkl"] != tree(desks.scientist)["handoff/model.pkl"]
    assert not list(careless.data_engineer.rglob("*.ipynb"))  # nor can they see what becomes of their export


@pytest.mark.maturity("L0-P3")
def test_the_software_engineer_gets_numbers_and_cannot_tell_which_model_made_them(
    shown: tuple[Desks, pd.Series], repeated: Desks, october: pd.DataFrame, tmp_path: Path
) -> None:
    used, first = shown
    other = repeated.copied(tmp_path)
    other.do("install")
    second = other.forecast(october)
    assert not first.equals(second)
    assert set(tree(used.software_engineer)) == set(tree(other.software_engineer)) == {"predictions.csv"}
    files = [pd.read_csv(each.software_engineer / "predictions.csv") for each in (used, other)]
    assert list(files[0]) == list(files[1]) == ["timestamp", "prediction"]
    assert files[0]["timestamp"].equals(files[1]["timestamp"])
    assert "software engineer" not in {
        role for each in used.book.release for role in (each.who, each.gives_to)
    }


@pytest.mark.maturity("L0-C1")
def test_a_month_that_was_pasted_twice_is_trained_on_twice(careless: Desks, desks: Desks) -> None:
    export = step(desks.book, "export")
    assert export.by_hand
    assert export.command is None
    stamps = pd.read_csv(careless.scientist / "export.csv")["timestamp"]
    assert stamps.duplicated().sum() > 700
    assert tree(careless.scientist)["handoff/model.pkl"] != tree(desks.scientist)["handoff/model.pkl"]


@pytest.mark.maturity("L0-C2")
def test_the_environment_of_the_training_cannot_be_made_again(desks: Desks, tmp_path: Path) -> None:
    named = (desks.scientist / "handoff" / "requirements.txt").read_text(encoding="utf-8").split()
    assert named
    assert all(re.fullmatch(r"[a-z-]+", name) for name in named)  # no version anywhere
    modules = ast.walk(ast.parse("\n".join(code_cells(desks.scientist / "demand.ipynb"))))
    imported = {
        name.split(".")[0]
        for node in modules
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert "matplotlib" in imported  # and what is imported is not even named
    assert "matplotlib" not in named
    assert not [path for path in FOLDER.rglob("*") if re.search(r"(?i)lock|docker|environment", path.name)]
    # A model that another version of scikit-learn made goes live with a warning that nobody has to read.
    changed = desks.copied(tmp_path)
    version = importlib.metadata.version("scikit-learn").encode()
    other = version[:-1] + (b"0" if version[-1:] != b"0" else b"1")
    model = changed.data_engineer / "handoff" / "model.pkl"
    assert version in model.read_bytes()
    model.write_bytes(model.read_bytes().replace(version, other))
    changed.do("install")
    assert "InconsistentVersionWarning" in changed.do("check")


@pytest.mark.maturity("L0-C3")
def test_the_same_experiment_gives_another_model_and_a_new_one_leaves_nothing_of_the_last(
    desks: Desks, repeated: Desks, careless: Desks
) -> None:
    model = "handoff/model.pkl"
    first, again = tree(desks.scientist), tree(repeated.scientist)
    assert again["export.csv"] == first["export.csv"]
    assert again["demand.ipynb"] == first["demand.ipynb"]
    assert again[model] != first[model]
    tried = tree(careless.scientist)
    assert tried["demand.ipynb"] != first["demand.ipynb"]  # edited in place
    assert tried.keys() == again.keys() == first.keys()  # no file was added: the last one won
    assert len({each[model] for each in (first, again, tried)}) == 3
    assert {name for name in first if tried[name] == first[name]} == {
        "handoff/README.txt",
        "handoff/requirements.txt",
    }


@pytest.mark.maturity("L0-C4")
def test_what_is_handed_over_is_a_pickle_and_a_list_of_its_inputs_and_output(desks: Desks) -> None:
    mailed = desks.data_engineer / "handoff"
    assert set(tree(mailed)) == {"model.pkl", "README.txt", "requirements.txt"}
    assert tree(mailed) == tree(desks.scientist / "handoff")
    words = (mailed / "README.txt").read_text(encoding="utf-8")
    (cell,) = (each for each in code_cells(desks.scientist / "demand.ipynb") if "features = [" in each)
    features = re.findall(r'^    "(\w+)",$', cell, flags=re.MULTILINE)
    assert len(features) == 9
    assert ", ".join(features) in words  # inputs, in order
    assert re.search(r"(?m)^Out: ", words)
    assert not re.search(r"\b20\d\d\b|\d+\.\d+|[0-9a-f]{8}", words)  # no period, no version, no checksum
    # The file itself can be held against nothing either: it knows neither its columns nor its data.
    model = (mailed / "model.pkl").read_bytes()
    strings = {given for _, given, _ in pickletools.genops(model) if isinstance(given, str)}
    assert "n_features_in_" in strings
    assert not {*features, "feature_names_in_", "export.csv"} & strings


@pytest.mark.maturity("L0-R1")
def test_a_model_that_was_mailed_is_not_used_until_a_person_installs_it(
    repeated: Desks, shown: tuple[Desks, pd.Series], october: pd.DataFrame, tmp_path: Path
) -> None:
    _, earlier = shown
    desks = repeated.copied(tmp_path)
    received = tree(desks.data_engineer)
    assert received["handoff/model.pkl"] != received["live/model.pkl"]
    assert desks.do("check") == ""
    assert desks.forecast(october).equals(earlier)
    desks.do("install")
    assert not desks.forecast(october).equals(earlier)
    assert len(desks.book.release) == 7
    assert all(each.by_hand for each in desks.book.release)


@pytest.mark.maturity("L0-R2")
def test_the_script_takes_saturday_for_a_working_day_and_users_get_worse_numbers(
    shown: tuple[Desks, pd.Series], october: pd.DataFrame, tmp_path: Path
) -> None:
    used, scripted = shown
    (cell,) = (each for each in code_cells(used.scientist / "demand.ipynb") if "features = [" in each)
    meant = '["weekday"] < 5) & ('
    assert f"(bikes{meant}bikes" in cell
    corrected = used.copied(tmp_path)
    edit(corrected.data_engineer / "score.py", '(frame["weekday"] < 6) & (frame', f"(frame{meant}frame")
    right = corrected.forecast(october)
    saturdays = october["timestamp"].dt.dayofweek == 5
    assert scripted[~saturdays].equals(right[~saturdays])  # the copies differ in that one place
    assert error(scripted, october) > 1.1 * error(right, october)
    for folder in (used.data_engineer, used.scientist):  # nobody can look up when it came in
        assert not [path for path in (folder, *folder.parents[:2]) if (path / ".git").exists()]


@pytest.mark.maturity("L0-R3")
def test_one_person_puts_the_attachment_of_last_time_live_and_nobody_else_is_in_it(
    desks: Desks, unreleased: Desks, tmp_path: Path
) -> None:
    desk = desks.copied(tmp_path)
    last_time = (unreleased.data_engineer / "handoff" / "model.pkl").read_bytes()
    (desk.data_engineer / "handoff" / "model.pkl").write_bytes(last_time)
    desk.do("install")
    assert desk.do("check") == ""
    assert (desk.data_engineer / "live" / "model.pkl").read_bytes() == last_time
    assert tree(desk.scientist) == tree(desks.scientist)
    assert tree(desk.software_engineer) == tree(desks.software_engineer) == {}
    after = [each.id for each in desks.book.release].index("mail") + 1
    assert {each.who for each in desks.book.release[after:]} == {"data engineer"}
    assert {each.who for each in desks.book.release} == {"data scientist", "data engineer"}


@pytest.mark.maturity("L0-A1")
def test_who_counts_weekdays_from_sunday_obeys_the_readme_and_gets_other_numbers(
    shown: tuple[Desks, pd.Series], october: pd.DataFrame, tmp_path: Path
) -> None:
    used, scripted = shown
    words = (used.data_engineer / "handoff" / "README.txt").read_text(encoding="utf-8")
    assert "weekday" in words
    assert not re.search(r"Monday|Sunday", words)  # only the author knows
    assert "Call me" in words
    other = used.copied(tmp_path)
    renumbered = 'frame["weekday"] = (frame["weekday"] + 1) % 7\n        X = frame[FEATURES]'
    edit(other.data_engineer / "score.py", "X = frame[FEATURES]", renumbered)
    output = other.forecast(october)
    assert other.do("check") == ""
    assert ((output - scripted).abs() > 5).mean() > 0.1


@pytest.mark.maturity("L0-A2")
def test_every_release_and_every_day_costs_the_same_steps_by_hand(
    shown: tuple[Desks, pd.Series], clean: pd.DataFrame, tmp_path: Path
) -> None:
    used, _ = shown
    book = used.book
    done = list(plan(level(0), load_people().levels[0], book, date(2011, 7, 1), date(2012, 12, 31)))
    assert sum(each.by_hand for _, _, each in done) == 3 * len(book.release) == 21
    assert len(book.predict) == 3
    assert all(each.by_hand for each in book.predict)
    # On the day on which nobody runs the script, the application shows the numbers of another day.
    forgotten = used.copied(tmp_path)
    tomorrow = between(clean, "2011-11-01", "2011-11-02")
    tomorrow[INPUTS].to_csv(forgotten.data_engineer / "day.csv", index=False)
    forgotten.do("send")
    sent = pd.read_csv(forgotten.software_engineer / "predictions.csv")
    assert sent["timestamp"].max() < "2011-11-01"

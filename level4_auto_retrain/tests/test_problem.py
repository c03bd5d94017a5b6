"""The interface to a problem: what of it is refused, and how the problem in force is chosen."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, NaiveDatetime, ValidationError

from bike_demand import problem
from bike_demand.core import current
from bike_demand.core.errors import UserError
from bike_demand.core.problem import EventTime, Key, Problem, parse_duration
from bike_demand.data import model_inputs
from tests.conftest import ROOT
from tests.toy import PROBLEM, Inputs, Label

Time = Annotated[NaiveDatetime, EventTime()]


def test_the_facts_about_each_field_are_read_from_its_annotations() -> None:
    fields = {each.name: each for each in PROBLEM.fields}
    assert (PROBLEM.time, PROBLEM.label_name, PROBLEM.cadence) == ("begins", "amount", timedelta(days=1))
    assert PROBLEM.keys == ("machine",)
    assert list(fields) == [name for name in Inputs.model_fields if name != "begins"]
    assert {each.kind for each in PROBLEM.fields} == {"number", "category", "boolean", "text"}
    heat = fields["heat"]
    assert (heat.description, heat.unit, heat.valid, heat.nullable) == (
        "in the room",
        "degrees C",
        (-90, 150),
        False,
    )
    assert heat.expected is not None
    assert (heat.expected.low, heat.expected.high, heat.expected.change) == (-35, 48, 12)
    assert (fields["grade"].categories, fields["special"].valid) == (("A", "B", "C", "D"), (0, 1))
    assert fields["moisture"].nullable


def test_an_integer_without_names_and_a_text_are_distinguished() -> None:
    class Plain(BaseModel):
        at: Time
        pieces: int
        maker: str | None = None

    fields = replace(PROBLEM, inputs=Plain).fields
    assert [(each.kind, each.nullable) for each in fields] == [("integer", False), ("text", True)]


def test_a_label_among_the_inputs_is_rejected() -> None:
    class Leaking(Inputs):
        amount: int

    with pytest.raises(UserError, match="label: amount is also an input"):
        replace(PROBLEM, inputs=Leaking)


def test_inputs_need_one_event_time() -> None:
    class Timeless(BaseModel):
        at: NaiveDatetime

    class Twice(BaseModel):
        begins: Time
        ends: Time

    for inputs, count in ((Timeless, 0), (Twice, 2)):
        with pytest.raises(UserError, match=f"inputs: {count} fields are marked"):
            replace(PROBLEM, inputs=inputs)


@pytest.mark.parametrize("kind", [list[float], float | str, bytes, dict[str, int], None])
def test_a_field_of_a_type_that_no_model_can_use_is_rejected(kind: Any) -> None:
    class Odd(BaseModel):
        begins: Time
        odd: kind

    with pytest.raises(UserError, match="inputs: odd is"):
        replace(PROBLEM, inputs=Odd)


def test_one_field_of_the_label_is_required() -> None:
    class Both(Label):
        waste: int

    class Neither(BaseModel):
        amount: int | None = None

    for label, count in ((Both, 2), (Neither, 0)):
        with pytest.raises(UserError, match=f"label: {count} required fields"):
            replace(PROBLEM, label=label)


# ---- the problem in force

LEAKING = """
from dataclasses import replace
from tests.toy import PROBLEM
PROBLEM = replace(PROBLEM, features=lambda columns: {"amount": columns["amount"]})
"""
UNTYPED = """
from tests.toy import Inputs
class Careless(Inputs):
    lost = 3
"""
UNDEFINED = """
from dataclasses import replace
from tests.toy import PROBLEM, Label
PROBLEM = replace(PROBLEM, inputs=Label)
"""
INCOMPLETE = """
from bike_demand.core.problem import Problem
PROBLEM = Problem(name="pieces", title="Pieces made")
"""


def test_features_that_use_the_label_are_rejected_in_one_line(project: Path) -> None:
    (project / "made_here.py").write_text(LEAKING, encoding="utf-8")
    path = os.pathsep.join([str(project), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "bike_demand", "predict", "rows.csv", "predictions.csv"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": path, "BIKE_PROBLEM": "made_here"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith("error: problem: features: 'amount' is not an input")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"example": {**PROBLEM.example, "lost": 1}}, "example: lost: Extra inputs"),
        ({"features": lambda columns: {"grade": columns["begins"]}}, "grade is neither a number nor a text"),
        ({"features": lambda columns: {"features": columns["material"]}}, "the name features is reserved"),
        ({"features": lambda columns: [columns["grade"]]}, "features: AttributeError: 'list'"),
        (
            {"features": lambda columns: {"both": columns["begins"] + columns["heat"]}},
            "features: UFuncTypeError: ",
        ),
    ],
)
def test_features_and_an_example_that_do_not_fit_are_rejected(
    changes: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_inputs, "PROBLEM", replace(PROBLEM, **changes))
    with pytest.raises(SystemExit, match="error: problem: ") as refused:
        model_inputs._feature_names()
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name", "named"),
    [
        ("", "nowhere.to_be_found", "nowhere"),
        ("", "made_here", "PROBLEM"),
        ("PROBLEM = 3", "made_here", "int"),
        ("PROBLEM = ", "made_here", "line 1"),
        ("raise AssertionError", "made_here", "made_here: AssertionError"),
        ("import numpyy", "made_here", "made_here: ModuleNotFoundError: No module named 'numpyy'"),
        ("import math; math.tua", "made_here", "has no attribute 'tua'"),
        (UNTYPED, "made_here", "`lost = 3`"),
        (UNDEFINED, "made_here", "label: "),
        (INCOMPLETE, "made_here", "description: Field required"),
    ],
)
def test_a_module_that_defines_no_problem_is_rejected(
    text: str, name: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_here.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BIKE_PROBLEM", name)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(UserError, match="problem") as refused:
        current._load_problem()
    assert named in str(refused.value)
    assert ("name a package" in str(refused.value)) == (named in ("nowhere", "PROBLEM"))
    assert "\n" not in str(refused.value)
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_code_that_fails_after_a_draft_is_rejected_with_the_place_of_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("2024-01-01", "2024-01-02"):
        (tmp_path / "state" / "before-draft" / name).mkdir(parents=True)
    (tmp_path / "broken_here.py").write_text("PROBLEM = ", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BIKE_PROBLEM", "broken_here")
    with pytest.raises(UserError, match=r"SyntaxError: .*, in state/before-draft/2024-01-02"):
        current._load_problem()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("inputs", {"begins": str}),
        ("label", int),
        ("params", {"C": 1.0}),
        ("name", "a/b"),
        ("decimals", "two"),
    ],
)
def test_an_attribute_of_another_type_is_rejected_by_name(attribute: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=attribute):
        replace(PROBLEM, **{attribute: value})


def test_params_yaml_names_the_problem_if_the_environment_does_not(project: Path) -> None:
    (project / "mine.py").write_text("from tests.toy import PROBLEM\n", encoding="utf-8")
    for setting, expected in (("mine", PROBLEM.name), ("bike_demand.problem", problem.PROBLEM.name)):
        (project / "params.yaml").write_text(f"problem: {setting}\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", "from bike_demand.core.current import PROBLEM; print(PROBLEM.name)"],
            cwd=project,
            env=os.environ | {"PYTHONPATH": f"{project}{os.pathsep}{ROOT}", "BIKE_PROBLEM": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


def test_a_problem_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Problem.__setattr__(PROBLEM, "name", "another")


@pytest.mark.parametrize(
    ("cadence", "right", "wrong"),
    [
        ("1h", "2012-06-13T17:00:00", "2012-06-13T17:30:00"),
        ("30min", "2012-06-13T17:30:00", "2012-06-13T17:45:00"),
        ("1D", "2012-06-13T00:00:00", "2012-06-13T01:00:00"),
        (None, "2012-06-13T17:30:01", "2012-06-13T17:30:01.5"),
    ],
)
def test_event_times_keep_the_cadence(cadence: str | None, right: str, wrong: str) -> None:
    class Timed(BaseModel):
        at: Annotated[NaiveDatetime, EventTime(cadence=cadence)]

    assert replace(PROBLEM, inputs=Timed).cadence == (None if cadence is None else parse_duration(cadence))
    Timed.model_validate_json(f'{{"at": "{right}"}}', strict=True)  # as a request is
    with pytest.raises(ValidationError, match="should") as refused:
        Timed.model_validate_json(f'{{"at": "{wrong}"}}', strict=True)
    for example in re.findall(r"like (\S+)", refused.value.errors()[0]["msg"]):
        Timed.model_validate_json(f'{{"at": "{example}"}}', strict=True)


@pytest.mark.parametrize("cadence", ["7h", "2D", "1 hour", "0h"])
def test_a_cadence_that_does_not_divide_a_day_is_rejected(cadence: str) -> None:
    class Timed(BaseModel):
        at: Annotated[NaiveDatetime, EventTime(cadence=cadence)]

    with pytest.raises(UserError, match=r"write it like|divides a day"):
        replace(PROBLEM, inputs=Timed)


@pytest.mark.parametrize(
    ("kind", "cadence", "timezone", "named"),
    [
        (datetime, "1h", "Atlantis", "like Europe/Berlin"),
        (datetime, "1h", "/etc", "like Europe/Berlin"),
        (datetime, "1D", "Europe/Berlin", "divides an hour"),
        (NaiveDatetime, "1h", "Europe/Berlin", "inputs: at has a timezone; annotate datetime"),
    ],
)
def test_a_time_zone_has_to_exist_and_to_fit_cadence_and_type(
    kind: Any, cadence: str, timezone: str, named: str
) -> None:
    class Timed(BaseModel):
        at: Annotated[kind, EventTime(cadence=cadence, timezone=timezone)]

    with pytest.raises(UserError, match=named):
        replace(PROBLEM, inputs=Timed)


def test_invalid_attribute_values_are_rejected() -> None:
    with pytest.raises(UserError, match="label_delay: 'soon' is not a duration"):
        replace(PROBLEM, label_delay="soon")
    with pytest.raises(UserError, match="baseline: 'best' is not a duration"):
        replace(PROBLEM, baseline="best")
    with pytest.raises(UserError, match="prediction_range: "):
        replace(PROBLEM, prediction_range=(5, 0))
    with pytest.raises(UserError, match="average_by: owner is not an input"):
        replace(PROBLEM, average_by="owner")


def test_keys_must_be_non_null_int_or_str() -> None:
    class Measured(BaseModel):
        at: Time
        size: Annotated[float, Key()]

    class Absent(BaseModel):
        at: Time
        owner: Annotated[int | None, Key()] = None

    class Keyed(BaseModel):
        at: Time
        owner: Annotated[str, Key()]

    class Named(BaseModel):
        at: Time
        id: Annotated[int, Key()]

    class Timed(BaseModel):
        at: Time
        timestamp: Annotated[int, Key()]

    for inputs, name in ((Measured, "size"), (Absent, "owner"), (Named, "id"), (Timed, "timestamp")):
        with pytest.raises(UserError, match=f"inputs: {name} is a key"):
            replace(PROBLEM, inputs=inputs)
    assert replace(PROBLEM, inputs=Keyed).keys == ("owner",)

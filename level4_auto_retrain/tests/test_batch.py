"""Scoring a CSV: the same predictions as the service, and nothing written where something is wrong."""

import csv
import json
from pathlib import Path

import pytest

from bike_demand.core.current import INPUT_COLUMNS
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import load_model
from tests.conftest import Run
from tests.feedmaker import HEADER
from tests.service import serve_in_thread
from tests.toy import EXAMPLE

ROW = ",".join(str(EXAMPLE[name]) for name in INPUT_COLUMNS)
NAMES = ",".join(INPUT_COLUMNS)
TEXTS = {name for name, value in EXAMPLE.items() if isinstance(value, str)}


@pytest.mark.slow
def test_batch_predictions_match_the_service(released: Path, run: Run, handoff: Path) -> None:
    output = run("predict", "feed/2011-02.csv", "out.csv")
    assert (output.status, output.err) == (0, "")
    model = load_model(handoff, "1")
    with (released / "feed" / "2011-02.csv").open(encoding="utf-8", newline="") as file:
        given = list(csv.DictReader(file))
    with (released / "out.csv").open(encoding="utf-8", newline="") as file:
        answered = list(csv.DictReader(file))
    rows = [
        {
            name: text if name in TEXTS else json.loads(text or "null")
            for name, text in row.items()
            if name in INPUT_COLUMNS
        }
        for row in given
    ]
    with serve_in_thread(create_app(ModelHolder(model))) as client:
        expected = client.post("/predict", json=rows).json()
    for each, answer in zip(answered, expected, strict=True):
        assert each | {"prediction": float(each["prediction"])} == {name: answer[name] for name in each}
    assert f"{len(rows)} predictions of model {model.version}" in output.out


def test_the_label_in_the_file_makes_no_difference(released: Path, run: Run) -> None:
    lines = (released / "feed" / "2011-02.csv").read_text(encoding="utf-8").splitlines()
    bare = "".join(",".join(line.split(",")[: len(INPUT_COLUMNS)]) + "\n" for line in lines)
    (released / "bare.csv").write_text(bare, encoding="utf-8")
    changed = "".join(
        [
            lines[0] + "\n",
            *(",".join([*line.split(",")[: len(INPUT_COLUMNS)], "?,,9"]) + "\n" for line in lines[1:]),
        ]
    )
    (released / "changed.csv").write_text(changed, encoding="utf-8")
    answers = set()
    for name in ("feed/2011-02.csv", "bare.csv", "changed.csv"):
        assert run("predict", name, "out.csv").status == 0
        answers.add((released / "out.csv").read_bytes())
    assert len(answers) == 1


def test_column_order_and_duplicate_rows_do_not_matter(released: Path, run: Run) -> None:
    names = list(reversed(INPUT_COLUMNS))
    row = ",".join(str(EXAMPLE[name]) for name in names)
    (released / "in.csv").write_text(f"{','.join(names)}\n{row}\n{row}\n", encoding="utf-8")
    assert run("predict", "in.csv", "out.csv").status == 0
    assert (released / "out.csv").read_text(encoding="utf-8").count(EXAMPLE["begins"]) == 2


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ("the file is empty",)),
        (f"{NAMES}\n", ("no rows",)),
        (f"{NAMES}\n{ROW}\n{ROW[:30]}\n", ("line 3", "values instead of 10")),
        (f"{NAMES.replace('grade', 'grad')}\n{ROW}\n", ("line 1", "column grade is missing")),
        (f"{NAMES},month\n{ROW},6\n", ("line 1", "unknown column 'month'")),
        (f"{NAMES}\n{ROW}\n{ROW.replace('24.6', 'hot')}\n", ("line 3", "column heat", "'hot'")),
        (
            f"{NAMES}\n{ROW.replace('24.6', 'nan')}\n",
            ("line 2", "column heat", "'nan' is not a valid number"),
        ),
        (f"{NAMES}\n{ROW.replace('24.6', '2_4.6')}\n", ("line 2", "column heat", "'2_4.6'")),
        (f"{NAMES}\n{ROW.replace('24.6', '')}\n", ("line 2", "column heat")),
        (f"{NAMES}\n{ROW.replace('24.6', '451')}\n", ("line 2", "column heat", "150")),
        (f"{NAMES}\n{ROW.replace('00:00,', '00:30,')}\n", ("line 2", "column begins", "midnight")),
        (f"{HEADER}\n{ROW}\n", ("line 2", "10 values instead of 13")),
    ],
)
def test_a_bad_file_is_rejected_in_one_line_and_nothing_is_written(
    released: Path, run: Run, content: str, fragments: tuple[str, ...]
) -> None:
    (released / "in.csv").write_text(content, encoding="utf-8")
    refusal = run("predict", "in.csv", "out.csv").refusal()
    assert all(fragment in refusal for fragment in ("in.csv", *fragments)), refusal
    assert not (released / "out.csv").exists()


def test_a_bad_file_does_not_replace_earlier_predictions(released: Path, run: Run) -> None:
    assert run("predict", "feed/2011-02.csv", "out.csv").status == 0
    before = (released / "out.csv").read_bytes()
    run("predict", "params.yaml", "out.csv").refusal()
    assert (released / "out.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "target", "fragment"),
    [
        ("nothing.csv", "out.csv", "nothing.csv: no such file"),
        ("feed", "out.csv", "feed: no such file, or it is a folder"),
        ("feed/2011-02.csv", "nowhere/out.csv", "nowhere: no such folder"),
        ("feed/2011-02.csv", "feed/2011-02.csv", "would be overwritten"),
        ("feed/2011-02.csv", "feed", "would be overwritten"),
    ],
)
def test_wrong_files_are_reported_in_one_line(
    released: Path, run: Run, source: str, target: str, fragment: str
) -> None:
    before = (released / "feed" / "2011-02.csv").read_bytes()
    assert fragment in run("predict", source, target).refusal()
    assert (released / "feed" / "2011-02.csv").read_bytes() == before


@pytest.mark.usefixtures("project")
def test_missing_model_is_reported(run: Run) -> None:
    assert "no model yet" in run("predict", "feed/2011-02.csv", "out.csv").refusal()


def test_model_option(project: Path, run: Run, handoff: Path) -> None:
    assert run("predict", "feed/2011-02.csv", "out.csv", "--model", handoff).status == 0
    assert (project / "out.csv").exists()


def test_predict_warns_and_uses_last_live_version_without_registry(released: Path, run: Run) -> None:
    assert run("predict", "feed/2011-02.csv", "out.csv").status == 0
    before = (released / "out.csv").read_bytes()
    (released / "state" / "mlflow.db").write_bytes(b"no database" * 1000)
    output = run("predict", "feed/2011-02.csv", "out.csv")
    assert output.status == 0
    assert output.err.startswith("warning: ")
    assert "using version 1, the last live version" in output.err
    assert (released / "out.csv").read_bytes() == before

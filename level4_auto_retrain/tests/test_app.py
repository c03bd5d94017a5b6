"""The application's contract, request by request."""

import codecs
import gzip
import json
import re
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from httpx import Client

from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import NO_MODEL, ModelHolder
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.serving.request_body import MAX_BYTES, MAX_ERRORS, MAX_ROWS
from bike_demand.store.database import database_at
from tests.service import serve_in_thread
from tests.toy import EXAMPLE, MACHINES


@pytest.fixture(scope="module")
def model(handoff: Path) -> OnnxModel:
    return load_model(handoff, "17")


@pytest.fixture(scope="module")
def client(model: OnnxModel) -> Iterator[Client]:
    with tempfile.TemporaryDirectory() as folder:
        database = database_at(f"sqlite:///{folder}/production.db")
        with serve_in_thread(create_app(ModelHolder(model), database=database)) as client:
            yield client


@pytest.fixture(scope="module")
def day_zero() -> Iterator[Client]:
    with serve_in_thread(create_app(ModelHolder())) as client:
        yield client


def post(client: Client, content: str | bytes) -> Any:
    return client.post("/predict", content=content, headers={"Content-Type": "application/json"})


def bare(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers without their ids, which are never the same."""
    return [{name: value for name, value in each.items() if name != "id"} for each in answers]


def problems(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 422
    found: list[dict[str, Any]] = response.json()["detail"]
    return found


def test_one_row_gets_one_prediction(client: Client, model: OnnxModel) -> None:
    response = client.post("/predict", json=EXAMPLE)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer.keys() == {"id", "begins", "machine", "prediction", "variant", "model_version"}
    assert (answer["begins"], answer["model_version"]) == (EXAMPLE["begins"], model.version)
    assert answer["variant"] == "champion"
    assert uuid.UUID(answer["id"]).version == 7
    assert answer["prediction"] > 0


def test_a_list_gets_a_list_in_the_same_order(client: Client) -> None:
    rows = [EXAMPLE | {"machine": MACHINES[position]} for position in (17, 3, 8)]
    together = client.post("/predict", json=rows).json()
    assert bare(together) == bare([client.post("/predict", json=row).json() for row in rows])


def test_list_of_one_row_returns_list(client: Client) -> None:
    together = client.post("/predict", json=[EXAMPLE]).json()
    assert bare(together) == bare([client.post("/predict", json=EXAMPLE).json()])


def test_each_answer_has_an_id_of_its_own_even_in_one_batch(client: Client) -> None:
    answers = client.post("/predict", json=[EXAMPLE] * 1000).json()
    assert len({each["id"] for each in answers}) == 1000


def test_null_in_nullable_field_is_accepted(client: Client) -> None:
    assert client.post("/predict", json=EXAMPLE | {"moisture": None}).status_code == 200


def test_values_outside_expected_range_are_accepted(client: Client) -> None:
    assert client.post("/predict", json=EXAMPLE | {"heat": 95.0, "core_heat": 102.2}).status_code == 200


def test_leading_whitespace_is_accepted(client: Client) -> None:
    assert len(post(client, f" \n[{json.dumps(EXAMPLE)}]").json()) == 1


@pytest.mark.parametrize("field", [name for name in EXAMPLE if name != "moisture"])
def test_a_missing_field_is_named(client: Client, field: str) -> None:
    row = {name: value for name, value in EXAMPLE.items() if name != field}
    (problem,) = problems(client.post("/predict", json=row))
    assert problem["loc"] == ["body", field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heat", '"hot"'),
        ("heat", '"21.5"'),
        ("heat", "NaN"),
        ("heat", "Infinity"),
        ("heat", "-Infinity"),
        ("heat", "1e999"),
        ("heat", "null"),
        ("heat", "true"),
        ("heat", "150.1"),
        ("core_heat", "-91"),
        ("moisture", "1.5"),
        ("moisture", "NaN"),
        ("speed", "-1"),
        ("grade", "5"),
        ("grade", "1.5"),
        ("special", "1"),
        ("attended", "true"),
        ("attended", '"1"'),
        ("begins", '"tomorrow"'),
        ("begins", '"2012-06-13T00:00:00+02:00"'),
        ("begins", '"2012-06-13T17:20:00"'),
        ("part_a", "3"),
        ("amount", "3"),
        ("temperature", "3"),
    ],
)
def test_a_bad_value_is_rejected_and_its_field_named(client: Client, field: str, value: str) -> None:
    others = {name: given for name, given in EXAMPLE.items() if name != field}
    body = json.dumps(others)[:-1] + f', "{field}": {value}}}'
    (problem,) = problems(post(client, body))
    assert problem["loc"] == ["body", field]
    assert problem["msg"]


def test_error_location_includes_row_index(client: Client) -> None:
    (problem,) = problems(client.post("/predict", json=[EXAMPLE, EXAMPLE | {"grade": 9}]))
    assert problem["loc"] == ["body", 1, "grade"]


def test_a_list_with_one_bad_row_gets_no_predictions(client: Client) -> None:
    assert "prediction" not in client.post("/predict", json=[EXAMPLE, {}]).text


@pytest.mark.parametrize(
    "body", ["", "{", "[", "hello", '"text"', "3", "null", b"\xff\xfe{}", b"\x00", "[3]", "[[]]"]
)
def test_what_is_not_a_row_is_rejected(client: Client, body: str | bytes) -> None:
    assert problems(post(client, body))[0]["loc"][0] == "body"


@pytest.mark.parametrize("body", [EXAMPLE, [EXAMPLE, EXAMPLE]])
def test_byte_order_mark_is_accepted(client: Client, body: Any) -> None:
    content = json.dumps(body).encode()
    marked = post(client, codecs.BOM_UTF8 + content)
    assert marked.status_code == 200
    assert len(marked.json()) == len(post(client, content).json())


@pytest.mark.parametrize(("rows", "where"), [("{}", []), ("[{}]", [0]), ("[{0},{}]", [1])])
@pytest.mark.parametrize("again", ['"heat": 3', '"heat" : 3', '"he\\u0061t": 3'])
def test_duplicate_field_returns_422(client: Client, rows: str, where: list[int], again: str) -> None:
    example = json.dumps(EXAMPLE)
    body = rows.replace("{0}", example).replace("{}", f"{example[:-1]}, {again}}}")
    (problem,) = problems(post(client, body))
    assert problem["loc"] == ["body", *where, "heat"]


def test_text_that_looks_like_a_field_is_accepted(client: Client) -> None:
    row = EXAMPLE | {"material": 'heat": 3, "heat'}
    assert client.post("/predict", json=[row, row]).status_code == 200


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (json.dumps(EXAMPLE).encode("utf-16"), "not UTF-8"),
        (json.dumps(EXAMPLE).encode("utf-16-le"), "not UTF-8"),
        (json.dumps(EXAMPLE | {"material": "grün"}, ensure_ascii=False).encode("latin-1"), "not UTF-8"),
        (gzip.compress(json.dumps(EXAMPLE).encode()), "compressed"),
    ],
)
def test_non_utf8_or_compressed_body_returns_422_with_hint(
    client: Client, content: bytes, cause: str
) -> None:
    (problem,) = problems(post(client, content))
    assert cause in problem["msg"]


def test_deep_nesting_is_rejected(client: Client) -> None:
    problems(post(client, "[" * 100_000))


def test_an_empty_list_is_rejected(client: Client) -> None:
    (problem,) = problems(client.post("/predict", json=[]))
    assert problem["loc"] == ["body"]


def test_row_limit(client: Client) -> None:
    assert len(client.post("/predict", json=[EXAMPLE] * MAX_ROWS).json()) == MAX_ROWS
    (problem,) = problems(client.post("/predict", json=[EXAMPLE] * (MAX_ROWS + 1)))
    assert str(MAX_ROWS) in problem["msg"]


def test_reported_errors_are_limited(client: Client) -> None:
    assert len(problems(client.post("/predict", json=[{}] * MAX_ROWS))) == MAX_ERRORS


def test_a_body_that_is_too_large_is_rejected(client: Client) -> None:
    assert problems(post(client, b" " * MAX_BYTES))
    for content in (b" " * (MAX_BYTES + 1), iter([b" " * MAX_BYTES, b" "])):  # with its length, and in chunks
        response = client.post("/predict", content=content)
        assert response.status_code == 413
        assert str(MAX_BYTES) in response.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://elsewhere.example", "Content-Type": "text/plain"}, 415),
        ({"Origin": "https://elsewhere.example"}, 415),
        ({"Origin": "https://elsewhere.example", "Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "text/plain"}, 200),  # no browser
    ],
)
def test_a_web_page_must_send_json_so_that_its_browser_asks_first(
    client: Client, headers: dict[str, str], status: int
) -> None:
    assert client.post("/predict", content=json.dumps(EXAMPLE), headers=headers).status_code == status
    assert str(status) in client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]


def test_get_predict_returns_405(client: Client) -> None:
    assert client.get("/predict").status_code == 405


def test_status_routes(client: Client, model: OnnxModel) -> None:
    assert client.get("/live").json() == {"status": "live"}
    assert client.get("/ready").json() == {"status": "ready"}
    assert {client.head(path).status_code for path in ("/live", "/ready", "/docs", "/model", "/metrics")} == {
        200
    }
    assert client.head("/").headers["location"] == "/docs"
    manifest = client.get("/model").json()
    assert (manifest["version"], manifest["digest"]) == ("17", model.digest)
    assert manifest["inputs"][0]["name"] == "position"


def test_without_model_is_live_but_returns_503(day_zero: Client) -> None:
    assert day_zero.get("/live").status_code == 200
    assert day_zero.head("/ready").status_code == 503
    for response in (day_zero.get("/ready"), day_zero.get("/model"), day_zero.post("/predict", json=EXAMPLE)):
        assert response.status_code == 503
        assert response.json() == {"detail": NO_MODEL}


def test_every_example_of_the_documentation_works(client: Client) -> None:
    tried = 0
    for path, calls in client.get("/openapi.json").json()["paths"].items():
        for method, call in calls.items():
            assert all("content" in answer for answer in call["responses"].values())
            media = call.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in media.get("examples", {"": {"value": None}}).values():
                response = client.request(method, path, json=example["value"])
                assert response.status_code == 200, response.text
                tried += 1
    assert tried >= 9


def test_the_example_in_the_schema_works_too(client: Client) -> None:
    api = client.get("/openapi.json").json()
    body = api["paths"]["/predict"]["post"]["requestBody"]
    row, rows = body["content"]["application/json"]["schema"]["oneOf"]
    answer = client.post("/predict", json=row["example"])
    assert answer.status_code == 200
    assert rows["maxItems"] == MAX_ROWS
    documented = api["components"]["schemas"]["Prediction"]
    assert set(documented["required"]) <= answer.json().keys() <= documented["properties"].keys()
    assert row["example"].keys() == row["properties"].keys()
    time = row["properties"]["begins"]
    assert "format" not in time  # `date-time` requires a UTC offset, which is rejected here
    assert re.fullmatch(time["pattern"], row["example"]["begins"])
    assert not re.fullmatch(time["pattern"], row["example"]["begins"] + "Z")


@pytest.mark.parametrize("path", ["/predict", "/outcomes"])
def test_a_dependency_that_is_added_to_the_routes_is_honoured(model: OnnxModel, path: str) -> None:
    async def refuse() -> None:
        raise HTTPException(418)

    outer = FastAPI()
    outer.include_router(create_app(ModelHolder(model)).router, dependencies=[Depends(refuse)])
    with serve_in_thread(outer) as client:
        assert client.post(path, json=EXAMPLE).status_code == 418

"""Event times with a time zone: local in files and requests and for features, in UTC in rows."""

import json
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, NaiveDatetime, ValidationError

from bike_demand.core.current import PROBLEM, TIME, Inputs, Row
from bike_demand.core.errors import UserError
from bike_demand.core.problem import EventTime
from bike_demand.data import frames, model_inputs, month, table
from bike_demand.data.frames import input_columns, to_frame
from bike_demand.data.model_inputs import to_columns
from bike_demand.data.table import read_month_file
from bike_demand.training import export
from tests.feedmaker import HEADER, month_lines

BERLIN = EventTime(cadence="1h", timezone="Europe/Berlin")
GIVEN = [
    ("2023-06-14T17:00:00", "2023-06-14T15:00:00"),
    ("2023-03-26T03:00:00", "2023-03-26T01:00:00"),  # the first after the hour that clocks skip
    ("2023-10-29T02:00:00", "2023-10-29T00:00:00"),  # clocks repeat it
    ("2023-10-29T02:00:00+01:00", "2023-10-29T01:00:00"),
    ("2023-06-14T15:00:00Z", "2023-06-14T15:00:00"),
]


class Hour(Row):  # type: ignore[misc]
    """A row of the feed that begins at an hour there."""

    begins: Annotated[datetime, BERLIN]


class Request(BaseModel):
    """With a time zone."""

    at: Annotated[datetime, BERLIN]


@pytest.fixture
def zoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the problem in force have the time zone."""
    for module in (model_inputs, month):
        monkeypatch.setattr(module, "EVENT_TIME", BERLIN)
    for module in (frames, table):
        monkeypatch.setattr(module, "ZONE", ZoneInfo("Europe/Berlin"))
    monkeypatch.setattr(table, "read_table", partial(table.read_table, model=Hour))


def read(*times: str) -> pd.DataFrame:
    """The rows of a file with these times, all of the same month."""
    (line,) = month_lines("2011-01")[:1]
    lines = [HEADER, *(f"{each},{line.split(',', 1)[1]}" for each in times)]
    return read_month_file("\n".join(lines).encode(), times[0][:7], "in.csv")


@pytest.mark.parametrize(("given", "utc"), GIVEN)
def test_the_time_of_a_request_is_kept_in_utc_and_written_with_its_offset(given: str, utc: str) -> None:
    found = Request.model_validate_json(f'{{"at": "{given}"}}')
    assert found.at == datetime.fromisoformat(utc)
    assert Request.model_validate_json(found.model_dump_json()) == found
    assert Request.model_validate(dict(found)) == found


@pytest.mark.usefixtures("zoned")
@pytest.mark.parametrize(("given", "utc"), GIVEN)
def test_the_times_of_a_file_are_kept_in_utc(given: str, utc: str) -> None:
    assert read(given)[TIME].tolist() == [pd.Timestamp(utc)]


@pytest.mark.usefixtures("zoned")
def test_nonexistent_or_implausible_time_is_rejected() -> None:
    with pytest.raises(ValidationError, match="Europe/Berlin"):
        Request.model_validate_json('{"at": "2023-03-26T02:00:00"}')
    with pytest.raises(ValidationError, match="1970"):
        Request.model_validate_json('{"at": "0001-01-01T00:00:00"}')
    with pytest.raises(UserError, match=r"^in.csv, line 2, column begins: [^\n]*does not exist[^\n]*$"):
        read("2023-03-26T02:00:00")
    with pytest.raises(UserError, match="this date or time does not exist"):
        read("2023-02-30T00:00:00+01:00")
    with pytest.raises(UserError, match="zone name: leave it out, or write the offset"):
        read("2023-02-28T00:00:00 CET")


@pytest.mark.usefixtures("zoned")
def test_second_ambiguous_time_needs_its_offset() -> None:
    with pytest.raises(UserError, match="needs its UTC offset"):
        read("2023-10-29T02:00:00", "2023-10-29T02:00:00")
    rows = read("2023-10-29T02:00:00", "2023-10-29T02:00:00+01:00", "2023-10-29T03:00:00")
    assert set(rows[TIME].diff().dropna()) == {timedelta(hours=1)}


@pytest.mark.usefixtures("zoned")
def test_a_month_begins_at_midnight_and_features_get_local_times() -> None:
    with pytest.raises(UserError, match="is not in 2023-02 in Europe/Berlin, the timezone"):
        read("2023-02-28T23:30:00Z")
    rows = read("2023-03-01T00:00:00", "2023-03-26T03:00:00")
    assert rows[TIME].iloc[0] == datetime(2023, 2, 28, 23)
    local = np.array(["2023-03-01T00", "2023-03-26T03"], dtype="datetime64[s]")
    assert np.array_equal(input_columns(rows)[TIME], local)
    requests = [Inputs.model_construct(**each) for each in frames.to_records(rows)]
    assert np.array_equal(to_columns(requests)[TIME], local)
    assert to_frame(requests)[TIME].equals(rows[TIME])


def test_a_model_is_not_written_with_golden_rows_that_are_no_valid_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = to_frame([Inputs.model_validate_json(json.dumps(PROBLEM.example))])
    monkeypatch.setattr(export, "EVENT_TIME", BERLIN)  # which formats times with an offset
    with pytest.raises(UserError, match="no valid request: begins: Input should not have timezone info"):
        export.golden_rows(b"", rows)


def test_without_a_time_zone_an_offset_is_rejected() -> None:
    class Plain(BaseModel):
        at: Annotated[datetime, EventTime()]

    class Label(BaseModel):
        at: Annotated[NaiveDatetime, EventTime()]

    for model in (Plain, Label):
        with pytest.raises(ValidationError):
            model.model_validate_json('{"at": "2023-06-14T15:00:00Z"}')

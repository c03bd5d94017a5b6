"""Scenarios: small TOML files of dated events in the world and faults in reporting."""

import datetime as dt
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ladder import UserError
from ladder.source import Strict, validated
from ladder.world import SCENARIOS

Trend = Literal["gradual", "flat"]


class _Dated(Strict):
    """Something that holds from the first hour of `since` to the last hour of `to`."""

    since: dt.date = Field(alias="from")
    to: dt.date

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.to < self.since:
            raise ValueError("to is before from")
        return self


class Growth(Strict):
    """From one date on, demand is `factor` times as high."""

    kind: Literal["growth"]
    since: dt.date = Field(alias="from")
    factor: float = Field(gt=0, le=20)


class NewHabits(Strict):
    """From one date on, the commuter peaks flatten: `share` of a working day's rides spreads out."""

    kind: Literal["new-habits"]
    since: dt.date = Field(alias="from")
    share: float = Field(default=0.7, ge=0, le=1)


class Units(_Dated):
    """The weather station reports temperatures in Fahrenheit."""

    kind: Literal["units"]


class Outage(_Dated):
    """Humidity is null, a share of the hours never arrives, the others arrive late."""

    kind: Literal["outage"]
    humidity_null: bool = True
    missing_share: float = Field(default=0.0, ge=0, le=1)
    # At most until the end of the month after: a replay publishes two months anew each day.
    late_hours: int = Field(default=0, ge=0, le=24 * 27)


class Poison(_Dated):
    """Counts are corrupted: each is reported `factor` times as high."""

    kind: Literal["poison"]
    factor: float = Field(ge=0, le=100)


Event = Annotated[Growth | NewHabits, Field(discriminator="kind")]
Fault = Annotated[Units | Outage | Poison, Field(discriminator="kind")]


class World(Strict):
    """What the world is like apart from the events: `gradual` growth through 2011 and 2012, or `flat`."""

    trend: Trend = "gradual"


class Scenario(Strict):
    """A story: the world it plays in, and what happens on which date."""

    name: str
    title: str
    says: str
    start: dt.date | None = None
    end: dt.date | None = None  # inclusive
    world: World = World()
    events: tuple[Event, ...] = Field(default=(), alias="event")
    faults: tuple[Fault, ...] = Field(default=(), alias="fault")

    @model_validator(mode="after")
    def _period(self) -> Self:
        if (self.start is None) != (self.end is None):
            raise ValueError("start and end belong together: give both or neither")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError("end is before start")
        return self


def known_scenarios() -> list[str]:
    """Names of the scenarios that come with the project."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def load_scenario(name_or_path: str) -> Scenario:
    """Load a scenario by name (`data/scenarios/NAME.toml`) or by the path of a TOML file.

    Raises UserError, one line with the file and the key, if it is unknown or badly written.
    """
    given = Path(name_or_path)
    path = given if given.suffix == ".toml" else SCENARIOS / f"{name_or_path}.toml"
    if name_or_path not in known_scenarios() and not (given.suffix == ".toml" and given.is_file()):
        known = ", ".join(known_scenarios())
        raise UserError(f"no scenario {name_or_path}: choose one of {known}, or give a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}; correct the file") from error
    return validated(Scenario, {**content, "name": path.stem}, path)

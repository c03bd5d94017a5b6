"""What the page says: from what the database has to words, numbers and where they lie."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from bike_demand.data.target import ERROR_UNIT
from bike_demand.prediction_log.history import Day
from bike_demand.prediction_log.journal import (
    BEGUN,
    DONE,
    FAILED,
    LIVE,
    TAKE_BACK,
    TRAIN,
    Incident,
    Kind,
)
from bike_demand.prediction_log.load import NOBODY, Load, add, by_version
from bike_demand.serving.dashboard import charts
from bike_demand.serving.dashboard.charts import Tick
from bike_demand.serving.dashboard.parts import (
    Band,
    Cell,
    Errors,
    Event,
    Headline,
    Mark,
    Quality,
    Service,
    Test,
    View,
)
from bike_demand.serving.dashboard.read import Seen
from bike_demand.serving.dashboard.words import (
    WORDS,
    capital,
    day_of,
    duration,
    listed,
    on_date,
    sentence,
    short,
)
from bike_demand.serving.live_models import LiveModels

WINDOW = 14  # days of the error that is shown large
STRIP = 28  # days of data quality
RANGES = {"30": 30, "90": 90, "all": None}
FIELDS = ("temp_c", "feels_like_c", "humidity", "windspeed_kmh", "weather", "workingday", "holiday")
OVER = "over:"  # so begin the keys of alerts that an incident has ended


def view(seen: Seen, live: LiveModels | None, chosen: str, links: Mapping[str, str]) -> View:
    """Everything on the page, for the days of the plot that were chosen: a key of RANGES."""
    facts = {name: each.content for name, each in seen.facts.items()}
    about: dict[str, Any] = {"promise": None, "looked_at": None}
    about |= facts.get("live") or {}
    releases = _releases(seen)
    about["version"] = releases[-1].version if releases else None
    if live is not None:
        about["version"] = int(live.model.version) if live.model.version.isdigit() else live.model.version
    here = [each.at for each in releases if each.version == about["version"]]
    since = here[-1] if here else None
    about["since"] = since
    tests = [_test(each, seen.now) for each in facts.get("tests") or []]
    recent = _last(seen.days, WINDOW)
    return View(
        headline=headline(seen, about, facts.get("tests") or []),
        now=seen.now,
        live=about,
        live_since=since,
        live_days=None if since is None or seen.now is None else max(0, (seen.now - since).days),
        error=_ratio(sum(each.error for each in recent), sum(each.known for each in recent)),
        yardstick=_ratio(
            sum(each.yardstick_error for each in recent), sum(each.yardstick_hours for each in recent)
        ),
        paired=_ratio(
            sum(each.paired_error for each in recent), sum(each.yardstick_hours for each in recent)
        ),
        promised=(about.get("promise") or {}).get("mae"),
        last_day=next((each.error / each.known for each in reversed(seen.days) if each.known), None),
        errors=_errors(seen, chosen),
        chosen=chosen,
        tests=tests,
        signals=sorted(seen.signals, key=lambda each: (ORDER.index(each.kind), each.id)),
        events=_events(seen),
        trainings=_trainings(seen),
        budget=facts.get("budget") or {},
        quality=_quality(seen),
        first_cell=None if seen.now is None else seen.now.date() - timedelta(days=STRIP),
        drift=seen.drift,
        service=_service(seen),
        workers=[
            {
                "name": each.id,
                "version": each.version,
                "other": each.other_version,
                "ago": f"{max(0, (seen.read_at - each.seen_at).total_seconds()):.0f} s",
            }
            for each in seen.workers
        ],
        looked=_looked(seen, about),
        links=links,
    )


# ---- the headline


ORDER = [Kind.RELEASE, Kind.NO_MODEL, Kind.LOOP, Kind.QUALITY, Kind.ERROR, Kind.AGE, Kind.DRIFT]


def headline(seen: Seen, live: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> Headline:
    """How it is, by what matters most: a bad model, a loop that fails, bad data, a world that changed."""
    version = live.get("version")
    kinds = {kind: [each for each in seen.signals if each.kind is kind] for kind in Kind}
    training = next((each for each in seen.actions if each.kind == TRAIN and each.state == BEGUN), None)
    doing = [*_doing(training, tests)]
    if found := [each for each in kinds[Kind.RELEASE] if each.evidence.get("verdict") == "keep on"]:
        title = f"{capital(found[0].subject)} was put live by other means"
        return Headline("warn", title, found[0].says, doing)
    if found := kinds[Kind.RELEASE]:
        return Headline("bad", f"{capital(found[0].subject)} is bad", found[0].says, doing)
    if found := kinds[Kind.LOOP]:
        return Headline("bad", "The loop needs a person", found[0].says, doing)
    if version is None:
        why = "The loop trains and releases the first one by itself as soon as it has data."
        return Headline("busy" if training else "none", "No model is live yet", why, doing)
    if found := kinds[Kind.QUALITY]:
        subjects = list(dict.fromkeys(WORDS.get(each.subject, each.subject) for each in found))
        doing.append("No training until they are right again; the last good model stays.")
        if seen.replaced:
            names = listed(WORDS.get(each, each) for each in seen.replaced)
            doing.append(f"Requests are answered with what is usual for {names}.")
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return Headline("warn", f"Bad data: {listed(subjects)}", found[0].says + more, doing)
    if found := [*kinds[Kind.ERROR], *kinds[Kind.AGE]]:
        changed = found[0].kind is Kind.ERROR
        title = "The error drifts" if changed else "The model is getting old"
        return Headline("busy" if training or tests else "warn", title, found[0].says, doing)
    if training is not None:
        return Headline("busy", "A new version is trained", training.reason, doing)
    if test := next((each for each in tests if each["kind"] == "test"), None):
        title = f"Version {test['version']} is tested against version {test['against']}"
        return Headline("busy", title, capital(test["reason"]), doing)
    for each in reversed(seen.actions):
        if each.kind == TAKE_BACK and each.state == DONE and seen.now is not None:
            if seen.now - each.at < timedelta(days=1):
                title = f"Version {each.detail['version']} was taken back"
                return Headline("warn", title, each.reason, doing)
            break
    since = live.get("since")
    why = f"Version {version} is live{f' since {on_date(since)}' if since else ''}."
    if kinds[Kind.DRIFT]:
        why += " The inputs have moved, the error has not: a season, nothing to learn from."
    return Headline("good", "All is well", why, doing)


def _doing(training: Any, tests: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if training is not None:
        yield f"Training a new version: {training.reason}"
    for each in tests:
        if each["kind"] == "test":
            yield f"Version {each['version']} answers beside version {each['against']}."
        else:
            yield f"Version {each['version']} is watched beside version {each['against']}, the one before."


# ---- error over time


def _errors(seen: Seen, chosen: str) -> Errors | None:
    known = [each for each in seen.days if each.known]
    if not known or seen.now is None:
        return None
    length = RANGES[chosen]
    last = max(seen.now, datetime.combine(known[-1].day, datetime.min.time()) + timedelta(days=1))
    first = datetime.combine(known[0].day, datetime.min.time())
    if length is not None:
        first = max(first, last - timedelta(days=length))
    shown = [each for each in known if each.day >= first.date()]
    if not shown:
        return None
    x = charts.across(first, last)
    rolling = [each for each in _rolling(known) if each[0] >= shown[0].day]
    tops = [value for _, *both in rolling for value in both if value is not None]
    daily = sorted(each.error / each.known for each in shown)
    # A few terrible days must not press everything else flat.
    y = charts.up(max(*tops, daily[int(0.97 * (len(daily) - 1))]) * 1.05)

    def points(values: Iterable[tuple[date, float | None]]) -> str:
        found: list[tuple[float, float | None]] = []
        before: date | None = None
        for day, value in values:
            noon = datetime.combine(day, datetime.min.time()) + timedelta(hours=12)
            if before is not None and (day - before).days > 1:
                found.append((0.0, None))
            found.append((x(noon.timestamp()), None if value is None else y(value)))
            before = day
        return charts.path(found)

    marks = sorted(_marks(seen, x, first, last), key=lambda each: each.at)
    return Errors(
        x=charts.day_ticks(first, last),
        y=charts.value_ticks(y),
        daily=points((each.day, each.error / each.known) for each in shown),
        rolling=points((day, error) for day, error, _ in rolling),
        yardstick=points((day, yardstick) for day, _, yardstick in rolling),
        marks=marks,
        bands=_bands(seen, x, first, last),
        crowded=len(marks) > 16,
        says=f"Mean absolute error of {len(shown)} days, {shown[0].day} to {shown[-1].day}",
    )


def _rolling(known: Sequence[Day]) -> Iterable[tuple[date, float | None, float | None]]:
    """For each day, error and the yardstick's over the days up to this one."""
    recent: deque[Day] = deque()
    for day in known:
        recent.append(day)
        while recent[0].day <= day.day - timedelta(days=WINDOW):
            recent.popleft()
        yield (
            day.day,
            _ratio(sum(each.error for each in recent), sum(each.known for each in recent)),
            _yardstick(recent),
        )


def _yardstick(days: Sequence[Day]) -> float | None:
    """The yardstick's error, where there is one for nearly all hours: others are no hours to compare with."""
    hours, known = sum(each.yardstick_hours for each in days), sum(each.known for each in days)
    return _ratio(sum(each.yardstick_error for each in days), hours) if hours >= 0.8 * known else None


def _marks(seen: Seen, x: charts.Scale, first: datetime, last: datetime) -> Iterable[Mark]:
    def inside(moment: datetime) -> bool:
        return first <= moment <= last

    for each in _releases(seen):
        if inside(each.at):
            kind = "release" if each.back is None else "back"
            yield Mark(x(each.at.timestamp()), kind, f"v{each.version}", f"{on_date(each.at)}: {each.says}")
    for action in seen.actions:
        if action.kind == TRAIN and inside(action.at):
            says = f"{on_date(action.at)}: training, {action.reason}"
            yield Mark(x(action.at.timestamp()), "trigger", "", says)


def _bands(seen: Seen, x: charts.Scale, first: datetime, last: datetime) -> Sequence[Band]:
    """One for each kind and stretch of time: several fields that were bad together are one."""
    found: dict[tuple[Kind, datetime, datetime | None], list[str]] = {}
    for each in seen.incidents:
        if (each.ended_at or last) >= first and each.since <= last:
            says = f"{_incident(each.kind, each.subject)}, {on_date(each.since)}"
            says += f" to {on_date(each.ended_at)}" if each.ended_at else ", goes on"
            found.setdefault((each.kind, each.since, each.ended_at), []).append(says)
    bands = []
    for (kind, since, ended_at), said in found.items():
        left, right = x(max(since, first).timestamp()), x(min(ended_at or last, last).timestamp())
        bands.append(Band(left, max(round(right - left, 2), 0.3), kind.value, "; ".join(said)))
    return bands


@dataclass(frozen=True)
class _Release:
    """Another version became the live one; `back` is the one that was taken back for it."""

    at: datetime
    version: int
    back: int | None

    @property
    def says(self) -> str:
        if self.back is None:
            return f"version {self.version} is live"
        return f"version {self.back} is taken back, version {self.version} is live again"


def _releases(seen: Seen) -> Sequence[_Release]:
    bad = {each.detail.get("version") for each in seen.actions if each.kind == TAKE_BACK}
    return [
        _Release(each.at, each.version, before if before in bad else None)
        for each in seen.actions
        if each.kind == LIVE and each.version is not None
        for before in [each.detail.get("instead_of")]
    ]


# ---- the A/B test


def _test(content: Mapping[str, Any], now: datetime | None) -> Test:
    days = content["days"]
    began = datetime.fromisoformat(content["began"])
    values = [each[key] for each in days for key in ("ratio", "low", "high") if each[key] is not None]
    inner = [each["ratio"] for each in days if each["ratio"] is not None]
    most = max([1.2, *(value * 1.3 for value in inner), *(each for each in values if each < 2)])
    least = min([0.8, *(value * 0.7 for value in inner)])
    y = charts.Scale(least, most)
    length = max(int(content["length"]), len(days), 1)
    places = [round(100 * (number + 0.5) / length, 2) for number in range(len(days))]
    bounded = [
        (place, y(each["low"]), y(each["high"]))
        for place, each in zip(places, days, strict=True)
        if each["high"] is not None
    ]
    ticks = [each for each in (0.5, 0.75, 1, 1.25, 1.5, 2) if least <= each <= most]
    return Test(
        content=content,
        day=0 if now is None else max(0, (now - began).days),
        x=[
            Tick(round(100 * (number + 0.5) / length, 2), f"day {number + 1}")
            for number in range(0, length, max(1, length // 4))
        ],
        y=[Tick(round(100 - y(each), 2), f"{each:g}") for each in ticks],
        ratio=charts.path(
            [
                (place, None if each["ratio"] is None else y(each["ratio"]))
                for place, each in zip(places, days, strict=True)
            ]
        ),
        dots=[
            (place, round(100 - y(each["ratio"]), 2))
            for place, each in zip(places, days, strict=True)
            if each["ratio"] is not None
        ],
        bounds=charts.area(bounded),
        one=round(100 - y(1), 2),
        margin=round(100 - y(1 + content["worse"]), 2) if content["kind"] == "test" else None,
    )


# ---- what happened


def _events(seen: Seen) -> Sequence[Event]:
    """Releases, alerts with what was done, and incidents, newest first."""
    found = [
        Event(
            each.at,
            "alert",
            each.title,
            [
                (label, sentence(each.body.get(key)))
                for label, key in (
                    ("What happened", "happened"),
                    ("What the loop did", "done"),
                    ("What you may do", "you_may"),
                )
                if each.body.get(key)
            ],
        )
        for each in seen.alerts
        if not each.key.startswith(OVER)  # told below, with what it cost
    ]
    for release in _releases(seen):
        kind = "release" if release.back is None else "back"
        found.append(Event(release.at, kind, capital(release.says)))
    for each in seen.incidents:
        if each.ended_at is not None:
            lines = [(on_date(done["at"]), done["what"]) for done in each.done]
            if each.cost:
                lines.append(("It cost", _cost(each.cost)))
            if each.lesson is not None:
                lines.append(
                    ("It taught", f"permanent check {each.lesson}, which every later one has to pass")
                )
            span = f"{on_date(each.since)} to {on_date(each.ended_at)}"
            title = f"Over: {_incident(each.kind, each.subject)}, {span}"
            found.append(Event(each.ended_at, "over", title, lines))
    return sorted(found, key=lambda each: each.at, reverse=True)


def _incident(kind: Kind, subject: str) -> str:
    match kind:
        case Kind.QUALITY:
            return f"bad data in {WORDS.get(subject, subject)}"
        case Kind.ERROR:
            return "error drift"
        case Kind.RELEASE:
            return f"the bad {subject}"
        case Kind.LOOP:
            return "trouble of the loop"
    return f"{kind.value.replace('-', ' ')}, {subject}"


def _cost(cost: Mapping[str, Any]) -> str:
    said = [f"{cost.get('hours', 0)} hours with a known count"]
    if cost.get("error") is not None:
        usual = f", normally {cost['normal_error']:g}" if cost.get("normal_error") is not None else ""
        said.append(f"off by {cost['error']:g} {ERROR_UNIT}{usual}")
    if cost.get("answers_by_bad_model"):
        said.append(f"{cost['answers_by_bad_model']} hours answered by the bad model")
    return "; ".join(said)


def _trainings(seen: Seen) -> Sequence[Mapping[str, Any]]:
    words = {BEGUN: "under way", DONE: "done", FAILED: "failed"}
    return [
        {
            "at": each.at,
            "reason": each.reason,
            "version": each.version,
            "outcome": (each.detail or {}).get("outcome") or words.get(each.state, each.state),
            "real": not each.detail.get("nothing_new"),
        }
        for each in reversed(seen.actions)
        if each.kind == TRAIN
    ]


# ---- data quality


def _quality(seen: Seen) -> Sequence[Quality]:
    if seen.now is None or not seen.days:
        return []
    days = {each.day: each for each in seen.days}
    dates = [seen.now.date() - timedelta(days=number) for number in range(STRIP, 0, -1)]
    wrong = {each.subject: each for each in seen.signals if each.kind is Kind.QUALITY}
    names = [*FIELDS, "feed", "count"]
    bad = [each for each in seen.incidents if each.kind is Kind.QUALITY and not _over(each, dates[0])]
    names += [each for each in dict.fromkeys([*wrong, *(each.subject for each in bad)]) if each not in names]
    found = []
    for name in names:
        cells = [_cell(name, day, days.get(day), bad) for day in dates]
        signal, replaced = wrong.get(name), seen.replaced.get(name, 0)
        says = "fine"
        if signal is not None:
            says = signal.says
        elif replaced:
            says = "fine again"
        if replaced:
            says += f"; in {replaced} answers of the last day the usual value was taken"
        found.append(Quality(WORDS.get(name, name), "good" if signal is None else "warn", says, cells))
    return found


def _cell(name: str, day: date, known: Day | None, incidents: Sequence[Incident]) -> Cell:
    if name not in FIELDS:  # of the feed there is a record only while something is wrong
        for each in incidents:
            if each.subject == name and each.since.date() <= day and not _over(each, day):
                return Cell("bad", f"{day_of(day)}: {each.noticed_by}")
    if known is None:
        return Cell("none", f"{day_of(day)}: nothing was asked")
    checks = known.quality.get(name) or {}
    if not checks:
        return Cell("ok", f"{day_of(day)}: fine")
    return Cell(
        "bad", f"{day_of(day)}: " + ", ".join(f"{check} ({hours} h)" for check, hours in checks.items())
    )


def _over(incident: Incident, day: date) -> bool:
    return incident.ended_at is not None and incident.ended_at.date() <= day


# ---- volume and latency


def _service(seen: Seen) -> Service | None:
    if not seen.loads:
        return None
    first, last = seen.loads[0].at, seen.loads[-1].at
    count = round((last - first) / seen.step) + 1
    by_time: dict[datetime, Load] = {}
    for each in seen.loads:
        by_time[each.at] = add(by_time[each.at], each) if each.at in by_time else each
    y = charts.up(max(each.requests for each in by_time.values()))
    y_ms = charts.up(max(1e3 * each.percentile(0.95) for each in by_time.values()))
    width = 100 / max(count, 12)  # a single bar is not as wide as the plot
    bars, line = [], []
    for at, each in by_time.items():
        left = round(width * round((at - first) / seen.step), 3)
        says = (
            f"{at:%d %b %H:%M} UTC: {each.requests:,} requests, 95 % within {duration(each.percentile(0.95))}"
        )
        if each.failures:
            says += f", {each.failures} failed"
        bars.append((left, round(width, 3), y(each.requests), y(each.failures), says))
        line.append((round(left + width / 2, 3), y_ms(1e3 * each.percentile(0.95))))
    ends = [first, last] if count > 5 else [first]  # else their labels would lie on each other
    minutes = seen.step.total_seconds() / 60
    latest = list(by_time.values())[-2 if len(by_time) > 1 else -1]  # the newest is not over yet
    return Service(
        bars=bars,
        line=charts.path(line),
        y=charts.value_ticks(y, 2),
        y_ms=charts.value_ticks(y_ms, 2),
        x=[
            Tick(round(width * (round((at - first) / seen.step) + 0.5), 2), f"{at:%d %b %H:%M}")
            for at in ends
        ],
        versions=[
            ("no version" if number == NOBODY else f"version {number}", each)
            for number, each in sorted(by_version(seen.loads).items())
        ],
        rate=short(latest.requests / minutes),
        p95=duration(latest.percentile(0.95)),
        failures=sum(each.failures for each in by_time.values()),
        every="minute" if minutes == 1 else f"{minutes:.0f} minutes",
    )


def _last(days: Sequence[Day], count: int) -> Sequence[Day]:
    known = [each for each in days if each.known]
    return [each for each in known if each.day > known[-1].day - timedelta(days=count)] if known else []


def _ratio(total: float, hours: int) -> float | None:
    return total / hours if hours else None


def _looked(seen: Seen, live: Mapping[str, Any]) -> str:
    at = live.get("looked_at")
    if not at:
        return ""
    seconds = max(0.0, (seen.read_at - datetime.fromisoformat(at)).total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}s ago"
    return f"{seconds:.0f} s ago"

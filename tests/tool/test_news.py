"""What is printed of a story: from the document that the dashboard draws, each thing once."""

from typing import Any

from ladder.news import News

SIGNAL = {
    "id": 7,
    "kind": "error-drift",
    "subject": "version 1",
    "message": "Over 3 days predictions are 17% too low (at least 7% with 80% confidence; limit 3%).",
}
TRAINING = {"id": 3, "version": 2, "state": "done", "detail": {}}
TEST = {"comparison": {"kind": "test", "version": 2, "against": 1, "began": "2012-01-12T00:00:00"}}
FIRST = {"at": "2011-12-07T00:00:00", "version": 1, "rolled_back": None}
SECOND = {"at": "2012-01-16T00:00:00", "version": 2, "rolled_back": None}
BACK = {"at": "2012-01-18T00:00:00", "version": 1, "rolled_back": 2}


def status(**parts: list[dict[str, Any]]) -> dict[str, Any]:
    empty: dict[str, Any] = {"signals": [], "trainings": [], "comparisons": [], "releases": [FIRST]}
    return empty | parts


def test_each_thing_is_printed_once_on_the_day_it_happens() -> None:
    days = [
        status(),
        status(signals=[SIGNAL]),
        status(signals=[SIGNAL], trainings=[TRAINING], comparisons=[TEST]),
        status(signals=[SIGNAL], trainings=[TRAINING], comparisons=[TEST]),
        status(trainings=[TRAINING], releases=[FIRST, SECOND]),
        status(trainings=[TRAINING], releases=[FIRST, SECOND, BACK]),
    ]
    news = News(days[0])
    printed = [[line.split()[0] for line in news.lines(day)] for day in days]
    assert printed == [[], ["signal"], ["training", "A/B"], [], ["resolved", "release"], ["release"]]


def test_a_line_can_be_read_from_afar() -> None:
    news = News(status())
    failed = TRAINING | {"id": 4, "version": 3, "state": "failed", "detail": {"result": "rejected"}}
    day = status(signals=[SIGNAL], trainings=[TRAINING, failed], comparisons=[TEST], releases=[FIRST, BACK])
    lines = list(news.lines(day))
    assert len(lines) == len(set(lines)) == 6
    assert max(map(len, lines)) <= 80
    assert any("17% too low" in line for line in lines)
    assert any("rejected" in line for line in lines)

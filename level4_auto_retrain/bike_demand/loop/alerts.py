"""Tells people: one interface, by the log and by a webhook, each alert at least once by each.

An alert is kept in the database before it goes out, so that one whose channel is away, or whose loop is
killed, goes out at a later turn. The same alert (by its key) is made once in its quiet period.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bike_demand.prediction_log import journal
from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.journal import Alert
from bike_demand.settings import STATE, Settings

LOG, WEBHOOK = "log", "webhook"  # the channels
FILE = STATE / "alerts.log"
ATTEMPTS, WAIT_SECONDS, TIMEOUT_SECONDS = 3, 0.2, 5.0

Tell = Callable[[str], None]


def alert(
    settings: Settings,
    database: Database,
    key: str,
    at: datetime,
    title: str,
    *,
    happened: str,
    evidence: Mapping[str, Any],
    done: str,
    you_may: str,
) -> Alert | None:
    """Keep an alert, to be delivered; None where the same was made in the quiet period before.

    `happened`, `done` (by the loop) and `you_may` (what a person may want to do) are sentences.
    """
    body = {"happened": happened, "evidence": dict(evidence), "done": done, "you_may": you_may}
    quiet_since = at - timedelta(days=settings.loop.alerts.quiet_days)
    channels = [LOG, WEBHOOK] if settings.loop.alerts.webhook else [LOG]
    return journal.put_alert(
        database, key=key, at=at, quiet_since=quiet_since, title=title, body=body, channels=channels
    )


def deliver(settings: Settings, database: Database, tell: Tell) -> None:
    """Send what still has to go out, oldest first. A channel that is away is said, and tried again later."""
    waiting = journal.undelivered(database)
    senders: dict[str, Callable[[Alert], str | None]] = {
        LOG: lambda each: _log(each, tell),
        WEBHOOK: lambda each: _post(settings.loop.alerts.webhook, each),
    }
    for channel, send in senders.items():
        for each in waiting:
            if each.delivered.get(channel, "") is not None:
                continue
            if (problem := send(each)) is not None:
                tell(f"warning: alerts do not go out by the {channel}: {problem}; the next turn tries again")
                break
            journal.delivered(database, each.id, channel)


def as_json(each: Alert) -> dict[str, Any]:
    """What is sent: by its id a receiver knows one that came twice."""
    return {"id": each.id, "key": each.key, "at": each.at.isoformat(), "title": each.title, **each.body}


def _log(each: Alert, tell: Tell) -> str | None:
    line = json.dumps({"alert": as_json(each)})
    tell(line)
    try:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        with FILE.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
    except OSError as error:
        return f"{FILE}: {error.strerror}"
    return None


def _post(address: str, each: Alert) -> str | None:
    """Post it; why that did not work, or None. The address may hold a secret, so it is not told."""
    if not address:
        return "no address is configured any more (loop.alerts.webhook)"
    import httpx
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    tries = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(WAIT_SECONDS),
        retry=retry_if_exception_type(httpx.HTTPError),
    )
    try:
        for attempt in tries:
            with attempt:
                httpx.post(address, json=as_json(each), timeout=TIMEOUT_SECONDS).raise_for_status()
    except RetryError as error:
        cause = error.last_attempt.exception()
        if isinstance(cause, httpx.HTTPStatusError):
            return f"it answers with status {cause.response.status_code}"
        return type(cause).__name__
    except httpx.InvalidURL:
        return "loop.alerts.webhook is no address"
    return None

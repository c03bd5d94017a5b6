"""Delivers alerts to the log and, if configured, to a webhook or chat, each at least once.

An alert is stored before it is sent, so that it survives a receiver that is down or a killed loop: a later
cycle sends it. A slow or failing receiver costs a cycle a bounded time and never delays later alerts. An
alert with the same key is not repeated during its quiet period.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bike_demand.core.settings import STATE, Alerts, Settings
from bike_demand.store import event_log
from bike_demand.store.database import Database
from bike_demand.store.tables import Alert

LOG, WEBHOOK = "log", "webhook"  # the channels
FILE = STATE / "alerts.log"
ATTEMPT_SECONDS = 5.0  # wall time per attempt
CYCLE_SECONDS = 15.0  # wall time after which a cycle starts no further attempt
# Statuses that will not change: the receiver rejects this alert. 408 and 429 ask for another attempt.
FINAL_STATUSES = frozenset(range(400, 500)) - {408, 429}

Report = Callable[[str], None]


@dataclass(frozen=True)
class DeliveryFailure:
    """Why an attempt failed, without the address, which may hold a secret. `final`: do not try again."""

    reason: str
    final: bool = False


Send = Callable[[Alert], DeliveryFailure | None]


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
    """Store an alert for delivery; None if the same one was raised within the quiet period.

    `happened`, `done` (by the loop) and `you_may` (advice to a person) are sentences.
    """
    body = {"happened": happened, "evidence": dict(evidence), "done": done, "you_may": you_may}
    quiet_since = at - timedelta(days=settings.loop.alerts.quiet_days)
    channels = [LOG, WEBHOOK] if settings.loop.alerts.webhook else [LOG]
    made = Alert(key, at, title, body, dict.fromkeys(channels))
    return made if event_log.put_alert(database, made, quiet_since) else None


def deliver(settings: Settings, database: Database, report: Report) -> None:
    """Send the outstanding alerts: those never tried first, then the oldest.

    A failure is stored with the alert and reported; unless final, the next cycle tries again.
    """
    waiting = event_log.undelivered(database)
    send_out = _sender(settings.loop.alerts)
    senders: dict[str, Send] = {
        LOG: lambda each: _log(each, report),
        WEBHOOK: lambda each: _within(ATTEMPT_SECONDS, send_out, each),
    }
    deadline = time.monotonic() + CYCLE_SECONDS
    for channel, send in senders.items():
        outstanding = [each for each in waiting if each.is_outstanding(channel)]
        for each in sorted(outstanding, key=lambda each: each.delivered[channel] is not None):
            if time.monotonic() > deadline:
                report(f"warning: the {channel} takes too long; the next cycle delivers the other alerts")
                break
            failure = send(each)
            event_log.attempted(database, each.id, channel, None if failure is None else vars(failure))
            if failure is None:
                continue
            then = "it is not tried again" if failure.final else "the next cycle tries again"
            report(f"warning: alert {each.title!r} not delivered to the {channel}: {failure.reason}; {then}")


def as_json(each: Alert) -> dict[str, Any]:
    """The complete alert as JSON. Its id lets receivers recognise duplicates."""
    return {"id": each.id, "key": each.key, "at": each.at.isoformat(), "title": each.title, **each.body}


def as_text(each: Alert) -> str:
    """The alert as chat text, without its title."""
    body = each.body
    return f"{each.at:%Y-%m-%d %H:%M}: {body['happened']}\nDone: {body['done']}\nYou may: {body['you_may']}"


def _log(each: Alert, report: Report) -> DeliveryFailure | None:
    line = json.dumps({"alert": as_json(each)})
    report(line)
    try:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        with FILE.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
    except OSError as error:
        return DeliveryFailure(f"{FILE}: {error.strerror}")
    return None


def _within(seconds: float, send: Send, each: Alert) -> DeliveryFailure | None:
    """Send in a thread that can be abandoned: client time-outs do not bound a slowly trickling response."""
    outcomes: list[DeliveryFailure | None] = []
    thread = threading.Thread(target=lambda: outcomes.append(send(each)), daemon=True)
    thread.start()
    thread.join(seconds)
    return outcomes[0] if outcomes else DeliveryFailure("no response in time")


def _sender(alerts: Alerts) -> Send:
    if not alerts.webhook:
        return lambda _: DeliveryFailure("loop.alerts.webhook is not set any more", final=True)
    if alerts.webhook.startswith(("http://", "https://")):
        return lambda each: _post(alerts, each)
    return lambda each: _notify(alerts.webhook, each)


def _post(alerts: Alerts, each: Alert) -> DeliveryFailure | None:
    import httpx

    document = {"text": f"{each.title}\n{as_text(each)}"} if alerts.format == "text" else as_json(each)
    try:
        answer = httpx.post(alerts.webhook, json=document, timeout=ATTEMPT_SECONDS)
    except httpx.HTTPError as error:
        return DeliveryFailure(type(error).__name__)
    except httpx.InvalidURL:
        return DeliveryFailure("loop.alerts.webhook is not a valid address")
    return None if answer.is_success else _refused(answer.status_code)


def _notify(address: str, each: Alert) -> DeliveryFailure | None:
    """Send with Apprise, which logs the status of a rejecting receiver and raises nothing."""
    import apprise

    logging.getLogger("apprise").propagate = False  # its messages may name the address
    receiver = apprise.Apprise()
    with apprise.LogCapture(level=logging.WARNING) as log:  # type: ignore[no-untyped-call]
        if not receiver.add(address):
            return DeliveryFailure("loop.alerts.webhook is not an address that Apprise knows")
        if receiver.notify(title=each.title, body=as_text(each)):
            return None
        status = re.search(r"error=(\d{3})\b", log.getvalue())
    return _refused(int(status[1])) if status else DeliveryFailure("Apprise could not deliver it")


def _refused(status: int) -> DeliveryFailure:
    return DeliveryFailure(f"the receiver responds with status {status}", final=status in FINAL_STATUSES)

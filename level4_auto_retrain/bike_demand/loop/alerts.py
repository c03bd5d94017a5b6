"""Delivers alerts to the log and, if configured, to a webhook or chat, each at least once.

An alert is stored before it is sent, so that it survives a receiver that is down or a killed loop: a later
cycle sends it. A slow or failing receiver costs a cycle a bounded time and never blocks later alerts. An
alert with the same key is not repeated during its quiet period.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bike_demand.core.settings import STATE, Settings
from bike_demand.store import event_log
from bike_demand.store.database import Database
from bike_demand.store.deployments import Emit
from bike_demand.store.tables import Alert

LOG, WEBHOOK = "log", "webhook"  # the channels
FILE = STATE / "alerts.log"
CYCLE_SECONDS = 15.0  # wall time after which a cycle starts no further attempt
# Wall time after which an attempt has failed. Apprise gives up earlier: 4 s to connect, 4 s to respond.
ATTEMPT_SECONDS = 10.0
NO_RESPONSE = "no response in time, or no connection"
STILL_WAITING = f"no response in {ATTEMPT_SECONDS:.0f} seconds"
# Returns why an attempt failed, without the address, which may hold a secret; None if it did not.
Send = Callable[[Alert], str | None]


def raise_alert(
    settings: Settings,
    database: Database,
    key: str,
    at: datetime,
    title: str,
    *,
    summary: str,
    evidence: Mapping[str, Any],
    response: str,
    suggestion: str,
) -> Alert | None:
    """Store an alert for delivery; None if the same one was raised within the quiet period.

    `summary`, `response` (of the loop) and `suggestion` (to a person) are sentences.
    """
    body = {"summary": summary, "evidence": dict(evidence), "response": response, "suggestion": suggestion}
    quiet_since = at - timedelta(days=settings.loop.alerts.quiet_days)
    channels = [LOG, WEBHOOK] if settings.loop.alerts.webhook else [LOG]
    new = Alert(key, at, title, body, dict.fromkeys(channels))
    return new if event_log.store_alert(database, new, quiet_since) else None


def deliver(settings: Settings, database: Database, report: Emit) -> None:
    """Send the outstanding alerts: those never tried first, then the oldest.

    A failure is stored with the alert and reported, and the next cycle retries. After an attempt that is
    still waiting, none begins in this cycle: the first one might write to the other's log.
    """
    waiting = event_log.outstanding_alerts(database)
    senders: dict[str, Send] = {LOG: lambda alert: _log(alert, report)}
    if settings.loop.alerts.webhook:
        senders[WEBHOOK] = lambda alert: _notify(settings.loop.alerts.webhook, alert)
    deadline = time.monotonic() + CYCLE_SECONDS
    for channel, send in senders.items():
        outstanding, failure = [alert for alert in waiting if alert.is_outstanding(channel)], None
        for alert in sorted(outstanding, key=lambda alert: alert.delivered[channel] is not None):
            if time.monotonic() > deadline or failure is STILL_WAITING:
                report(f"warning: the {channel} timed out; the next cycle delivers the remaining alerts")
                break
            failure = send(alert)
            event_log.record_attempt(database, alert.id, channel, failure)
            if failure is not None:
                report(f"warning: alert {alert.title!r} not delivered to the {channel}: {failure}")


def as_json(alert: Alert) -> dict[str, Any]:
    """The complete alert as JSON. Its id lets receivers recognize duplicates."""
    return {"id": alert.id, "key": alert.key, "at": alert.at.isoformat(), "title": alert.title, **alert.body}


def as_text(alert: Alert) -> str:
    """The alert as text, without its title."""
    body = alert.body
    return (
        f"{alert.at:%Y-%m-%d %H:%M}: {body['summary']}\nResponse: {body['response']}\nSuggestion:"
        f" {body['suggestion']}\nEvidence: {json.dumps(body['evidence'])}\nId: {alert.id}"
    )


def _log(alert: Alert, report: Emit) -> str | None:
    line = json.dumps({"alert": as_json(alert)})
    report(line)
    try:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        with FILE.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
    except OSError as error:
        return f"{FILE}: {error.strerror}"
    return None


def _notify(address: str, alert: Alert) -> str | None:
    """Send in a thread that may be left behind: no client's time-out bounds a receiver that trickles."""
    results: list[str | None] = []
    thread = threading.Thread(target=lambda: results.append(_send(address, alert)), daemon=True)
    thread.start()
    thread.join(ATTEMPT_SECONDS)
    return results[0] if results else STILL_WAITING


def _send(address: str, alert: Alert) -> str | None:
    """Send with Apprise, which logs the status of a rejecting receiver, and raises nothing."""
    import apprise

    logging.getLogger("apprise").propagate = False  # its messages may name the address
    receiver = apprise.Apprise()
    with apprise.LogCapture(level=logging.WARNING) as log:  # type: ignore[no-untyped-call]
        # An http:// or https:// address that is not one of a service that Apprise knows gets JSON. Apprise
        # passes on only parameters that are marked by a "-".
        other = re.sub(r"([?&])(?=[^-+:&])", r"\1-", re.sub("^http", "json", address))
        if not (receiver.add(address) or receiver.add(other)):
            return "loop.alerts.webhook is not an address that Apprise knows (see params.yaml)"
        if receiver.notify(title=alert.title, body=as_text(alert)):
            return None
        found = re.search(r"error=(\d{3})\b", log.getvalue())
    return f"the receiver responded with status {found[1]}" if found else NO_RESPONSE

"""Publishes facts for the status document that only the loop knows, at the end of a monitoring cycle."""

from datetime import UTC, datetime
from typing import Any

from bike_demand.loop.context import Context
from bike_demand.loop.retraining import tried
from bike_demand.monitoring.rules import MONTH, due, reference_error
from bike_demand.release.ab.evidence import Evidence, gather, under_test, under_watch
from bike_demand.store import event_log


def publish(context: Context) -> None:
    """Publish these fields of the status document: the live reference error, comparisons, the budget."""
    live = context.deployments.live()
    content = {
        "reference_error": live and reference_error(context.tracking.version(live.version)).mae,
        "comparisons": [
            _shown(gather(context.deployments, trial))
            for trial in (under_test(context.deployments), under_watch(context.deployments))
            if trial is not None
        ],
        "budget": _budget(context),
        "loop_checked_at": datetime.now(UTC).isoformat(),  # wall time, to detect a stopped loop
    }
    event_log.publish(context.database, content, context.now)


def _budget(context: Context) -> dict[str, Any]:
    """Trainings spent of the budget, and in `message` why none starts now; None if one could."""
    before = tried(context)
    spent = sum(context.now - each.at < MONTH for each in before)
    now = due("", before, context.now, context.settings)
    message = None if now.train else now.message
    return {"spent": spent, "of": context.settings.trigger.budget, "days": MONTH.days, "message": message}


def _shown(evidence: Evidence) -> dict[str, Any]:
    trial = evidence.trial
    return {
        "kind": str(trial.kind),
        "version": trial.version,
        "against": trial.against,
        "mode": trial.mode,
        "share": trial.share,
        "began": trial.began.isoformat(),
        "length": trial.days,
        "worse": evidence.rule.worse,
        "verdict": evidence.verdict,
        "reason": evidence.reason,
        "days": [{"ratio": each.ratio, "low": each.low, "high": each.high} for each in evidence.days],
    }

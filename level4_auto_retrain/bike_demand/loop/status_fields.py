"""Stores the parts of the status document that need the model registry, which the service does not query."""

from datetime import UTC, datetime
from typing import Any

from bike_demand.loop.context import Context
from bike_demand.loop.retraining import past_trainings, retry_refusal
from bike_demand.monitoring.retraining_policy import MONTH, reference_of, retraining_refusal
from bike_demand.release.ab.evidence import collect, running_test, running_watch
from bike_demand.store import event_log


def publish_status_fields(context: Context) -> None:
    """Publish these fields of the status document: the live reference error, comparisons, the budget."""
    live = context.deployments.live()
    content = {
        "reference_error": None
        if live is None
        else reference_of(context.tracking.version(live.version), "holdout_error"),
        "comparisons": [
            collect(context.deployments, comparison).model_dump(mode="json")
            for comparison in (running_test(context.deployments), running_watch(context.deployments))
            if comparison is not None
        ],
        "budget": _budget(context),
        "last_cycle_at": datetime.now(UTC).isoformat(),  # wall time, to detect a stopped loop
    }
    event_log.publish_fields(context.database, content, context.now)


def _budget(context: Context) -> dict[str, Any]:
    """Trainings spent of the budget, and in `message` why none starts now; None if one could."""
    past = past_trainings(context)
    spent = sum(context.now - each.at < MONTH for each in past)
    message = retry_refusal(context) or retraining_refusal(past, context.now, context.settings)
    return {"spent": spent, "limit": context.settings.trigger.budget, "days": MONTH.days, "message": message}

"""The web application: predictions, outcomes, readiness, and the live models."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response, Security
from fastapi.middleware import Middleware
from pydantic import BaseModel
from pydantic_core import to_json

from bike_demand.core.current import IdentityFields, identity_fields
from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.handoff import FeatureSpec, OutputSpec
from bike_demand.serving import docs
from bike_demand.serving.keys import ApiKeys, RequireKey
from bike_demand.serving.live_models import LiveModels, ModelHolder, Role
from bike_demand.serving.metrics import CONTENT_TYPE
from bike_demand.serving.outcome_requests import NotStoredYetError, parse_outcomes, store_outcomes
from bike_demand.serving.prediction import Batcher, InvalidPredictionError, PredictedBatch, Variant
from bike_demand.serving.request_body import parse_rows, read_body
from bike_demand.serving.telemetry import IDS, Recorder, Telemetry
from bike_demand.serving.web import ErrorDetail, Lifespan, Status, drain_on_sigterm, new_app, not_draining
from bike_demand.serving.worker import ENVIRONMENT, ServiceWorker
from bike_demand.store.database import Database
from bike_demand.store.outcomes import Stored

OUTCOME_SECONDS = 15.0  # time limit for storing outcomes in the database
OUTCOME_PAUSES = (0.1, 0.3, 1.0, 2.0)  # seconds to wait for a prediction that is not stored yet
OUTCOME_THREADS = 4  # of their own, so that a slow database does not hold up /metrics


class Prediction(IdentityFields):  # type: ignore[misc]
    """The prediction for one row. Its `id` allows tracing it to the rows that the model was trained on."""

    id: str
    prediction: float
    variant: Variant
    model_version: str


class Readiness(Status):
    """Whether the service can predict, and any error that does not prevent it."""

    warning: str | None = None


class AboutOther(BaseModel):
    """The second model, and the share of the units that get its predictions."""

    version: str
    digest: str
    deployment: str
    role: Role
    share: float


class About(BaseModel):
    """The live model, its inputs and output, and the second model."""

    name: str
    version: str
    digest: str
    deployment: str
    other: AboutOther | None
    inputs: tuple[FeatureSpec, ...]
    output: OutputSpec


def create_app(
    holder: ModelHolder,
    lifespan: Lifespan | None = None,
    *,
    keys: ApiKeys | None = None,
    recorder: Recorder | None = None,
    database: Database | None = None,
) -> FastAPI:
    """The application with the holder's models, which are missing on day 0, before the first release.

    Without keys, access is open; without a recorder, only metrics are kept; without a database, outcomes are
    rejected.
    """
    keys, recorder = keys or ApiKeys(), recorder or Recorder()
    batcher = Batcher(recorder.metrics.failed)
    outcome_threads = ThreadPoolExecutor(OUTCOME_THREADS, "outcomes")
    app = new_app(lifespan, Middleware(Telemetry, recorder=recorder))
    for_clients = RequireKey(keys, "client")
    operator = Security(RequireKey(keys, "operations"))

    def live_models() -> LiveModels:
        live = holder.live
        if live is None:
            raise HTTPException(503, holder.reason())
        return live

    # These two routes read the body and write the response themselves: FastAPI's own handling takes longer
    # than the model.
    @app.post(
        "/predict",
        summary="Predict",
        description=docs.PREDICT,
        responses=docs.PREDICT_RESPONSES,
        response_model=Prediction | list[Prediction],
        openapi_extra={"requestBody": docs.PREDICT_BODY, "security": [{for_clients.scheme_name: []}]},
    )
    async def predict(request: Request) -> Response:
        # Declared in `openapi_extra` only: as a dependency it would cost a tenth of the request rate.
        name = await for_clients(request)
        live = live_models()
        rows, is_list = parse_rows(await read_body(request))
        try:
            batch = await batcher.predict(live, rows, name)
        except InvalidPredictionError as error:
            raise HTTPException(500, str(error)) from None
        request.scope[IDS] = batch.ids
        recorder.predicted(batch)
        content = _as_dicts(batch)
        return Response(to_json(content if is_list else content[0]), media_type="application/json")

    @app.post(
        "/outcomes",
        summary="Report outcomes",
        description=docs.OUTCOMES,
        responses=docs.OUTCOMES_RESPONSES,
        response_model=Stored,
        openapi_extra={"requestBody": docs.OUTCOMES_BODY},
        dependencies=[Security(for_clients)],
    )
    async def post_outcomes(request: Request) -> Response:
        given = parse_outcomes(await read_body(request))
        if database is None:
            raise HTTPException(503, "this environment has no database, so outcomes cannot be stored")

        def store() -> Stored:
            recorder.flush()  # so that the predictions of an outcome are stored before it
            return store_outcomes(database, given)

        async def store_once_predicted() -> Stored:
            loop = asyncio.get_running_loop()
            for pause in OUTCOME_PAUSES:
                with suppress(NotStoredYetError):
                    return await loop.run_in_executor(outcome_threads, store)
                await asyncio.sleep(pause)
            return await loop.run_in_executor(outcome_threads, store)

        try:
            stored = await asyncio.wait_for(store_once_predicted(), OUTCOME_SECONDS)
        except UserError as error:
            raise HTTPException(503, f"nothing was stored; try again later: {error}") from None
        except TimeoutError:  # the thread goes on
            why = "the database takes too long, so outcomes may be stored or not"
            raise HTTPException(503, f"{why}; send them again, which stores nothing twice") from None
        recorder.metrics.outcomes(stored)
        return Response(to_json(stored), media_type="application/json")

    @app.get(
        "/ready",
        summary="Is the service ready to predict?",
        responses={503: {"model": ErrorDetail}},
        response_model_exclude_none=True,
        dependencies=[Depends(not_draining)],
    )
    async def ready() -> Readiness:
        live_models()
        return Readiness(status="ready", warning=holder.error or recorder.error)

    @app.get(
        "/model",
        summary="Which model is live?",
        responses=docs.REFUSED | docs.NO_MODEL,
        dependencies=[operator],
    )
    async def about() -> About:
        live = live_models()
        model, other = live.model, live.other
        second = None
        if other is not None:
            second = AboutOther(version=other.model.version, digest=other.model.digest, **vars(other))
        names = {"version": model.version, "digest": model.digest, "deployment": live.deployment}
        return About(**dict(model.manifest) | names, other=second)

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        responses=docs.REFUSED | docs.METRICS,
        response_class=Response,
        dependencies=[operator],
    )
    async def metrics() -> Response:
        recorder.sync()
        return Response(await asyncio.to_thread(recorder.metrics.text), media_type=CONTENT_TYPE)

    return app


def create_live_app() -> FastAPI:
    """The application with the registry's live models, as started by each worker process."""
    try:
        settings = load_settings()
    except UserError as error:  # params.yaml was changed before this worker replaced another
        raise SystemExit(f"error: {error}") from None
    worker = ServiceWorker(settings, os.environ.get(ENVIRONMENT, "production"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(worker.start)
        async with drain_on_sigterm(app, settings.serving.drain_seconds):
            yield
        await asyncio.to_thread(worker.stop)

    return create_app(
        worker.holder, lifespan, keys=worker.keys, recorder=worker.recorder, database=worker.database
    )


def _as_dicts(batch: PredictedBatch) -> list[dict[str, Any]]:
    """The predictions of a batch as JSON values."""
    live = batch.live
    versions = {"champion": live.model.version}
    if live.other is not None:
        versions["challenger"] = live.other.model.version
    return [
        {
            "id": id_,
            **identity_fields(row),
            "prediction": prediction,
            "variant": who,
            "model_version": versions[who],
        }
        for id_, row, prediction, who in zip(
            batch.ids, batch.rows, batch.predictions, batch.variants, strict=True
        )
    ]

"""The web application: predictions, readiness, and the live model."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from pydantic_core import to_json

from bike_demand.core.current import IdentityFields, identity_fields
from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.handoff import FeatureSpec, OutputSpec
from bike_demand.serving import docs
from bike_demand.serving.live_models import ModelHolder, RegistryModels, RegistryPoller
from bike_demand.serving.logs import json_logs
from bike_demand.serving.onnx_model import OnnxModel
from bike_demand.serving.request_body import parse_rows, read_body
from bike_demand.serving.web import ErrorDetail, Lifespan, Status, drain_on_sigterm, new_app, not_draining
from bike_demand.store.tracking import Tracking

log = logging.getLogger(__name__)


class Prediction(IdentityFields):  # type: ignore[misc]
    """The prediction for one row."""

    prediction: float
    model_version: str


class Readiness(Status):
    """Whether the service can predict, and any error that does not prevent it."""

    warning: str | None = None


class About(BaseModel):
    """The live model, its inputs and its output."""

    name: str
    version: str
    digest: str
    inputs: tuple[FeatureSpec, ...]
    output: OutputSpec


def create_app(holder: ModelHolder, lifespan: Lifespan | None = None) -> FastAPI:
    """The application with the holder's model, which is None on day 0, before the first release."""
    app = new_app(lifespan)

    def live_model() -> OnnxModel:
        model = holder.model
        if model is None:
            raise HTTPException(503, holder.reason())
        return model

    # Reads the body and writes the response itself: FastAPI's own handling takes longer than the model.
    @app.post(
        "/predict",
        summary="Predict",
        description=docs.PREDICT,
        responses=docs.PREDICT_RESPONSES,
        response_model=Prediction | list[Prediction],
        openapi_extra={"requestBody": docs.PREDICT_BODY},
    )
    async def predict(request: Request) -> Response:
        current = live_model()
        rows, is_list = parse_rows(await read_body(request))
        predictions = current.predict(rows)
        if not all(map(math.isfinite, predictions)):
            raise HTTPException(500, f"version {current.version} returned NaN or infinity; use another one")
        content = [
            {**identity_fields(row), "prediction": prediction, "model_version": current.version}
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        return Response(to_json(content if is_list else content[0]), media_type="application/json")

    @app.get(
        "/ready",
        summary="Is the service ready to predict?",
        responses={503: {"model": ErrorDetail}},
        response_model_exclude_none=True,
        dependencies=[Depends(not_draining)],
    )
    async def ready() -> Readiness:
        live_model()
        return Readiness(status="ready", warning=holder.error)

    @app.get("/model", summary="Which model is live?", responses=docs.NO_MODEL)
    async def about() -> About:
        model = live_model()
        return About(**dict(model.manifest) | {"version": model.version, "digest": model.digest})

    return app


def create_live_app() -> FastAPI:
    """The application with the registry's live model, as started by each worker process."""
    try:
        settings = load_settings()
    except UserError as error:  # params.yaml was changed before this worker replaced another
        raise SystemExit(f"error: {error}") from None
    holder = ModelHolder()
    poller = RegistryPoller(holder, RegistryModels(Tracking(settings)), settings.serving.poll_seconds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with json_logs():
            await asyncio.to_thread(poller.start)
            if holder.model is None:
                log.info("waiting", extra={"detail": holder.reason()})
            async with drain_on_sigterm(app, settings.serving.drain_seconds):
                yield
            await asyncio.to_thread(poller.stop)

    return create_app(holder, lifespan)

"""The web application: predictions, readiness, and the live model."""

import math
from functools import partial

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic_core import to_json

from bike_demand.core.current import IdentityFields, identity_fields
from bike_demand.core.errors import UserError
from bike_demand.core.settings import MODEL, load_settings
from bike_demand.handoff import Manifest
from bike_demand.serving import docs
from bike_demand.serving.onnx_model import OnnxModel, load_model_if_present, no_model_message
from bike_demand.serving.request_body import parse_rows, read_body
from bike_demand.serving.web import ErrorDetail, Lifespan, Status, drain_on_sigterm, new_app, not_draining


class Prediction(IdentityFields):  # type: ignore[misc]
    """The prediction for one row."""

    prediction: float
    model_version: str


def create_app(model: OnnxModel | None, lifespan: Lifespan | None = None) -> FastAPI:
    """The application with a model; None on day 0, before the first release."""
    app = new_app(lifespan)

    def live_model() -> OnnxModel:
        if model is None:
            raise HTTPException(503, no_model_message(MODEL))
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
        dependencies=[Depends(not_draining)],
    )
    async def ready() -> Status:
        live_model()
        return Status(status="ready")

    @app.get("/model", summary="Which model is live?", responses=docs.NO_MODEL)
    async def about() -> Manifest:
        return live_model().manifest

    return app


def create_live_app() -> FastAPI:
    """The application with this project's live model, as started by each worker process."""
    try:
        settings = load_settings()
    except UserError as error:  # params.yaml was changed before this worker replaced another
        raise SystemExit(f"error: {error}") from None
    lifespan = partial(drain_on_sigterm, seconds=settings.serving.drain_seconds)
    return create_app(load_model_if_present(MODEL), lifespan)

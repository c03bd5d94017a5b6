"""The application: asks the model, says how it is, and documents itself."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from bike_demand.data.table import iso
from bike_demand.data.target import DESCRIPTION
from bike_demand.handoff import Card
from bike_demand.serving import docs
from bike_demand.serving.body import read_body
from bike_demand.serving.model import Model, load_if_there, nothing_yet
from bike_demand.serving.rows import parse_rows
from bike_demand.settings import MODEL


class Prediction(BaseModel):
    """The answer for one row."""

    timestamp: str
    prediction: float
    model_version: str


class Status(BaseModel):
    """How the application is."""

    status: str


class Detail(BaseModel):
    """Why there is no answer, in one sentence."""

    detail: str


class _Direct(APIRoute):
    """A route whose function gets the request as it is and answers a Response as it goes out.

    It is in the documentation like any other, but FastAPI does not parse and serialise around it, which
    costs more time than the model does.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


def create_app(model: Model | None) -> FastAPI:
    """The application with a model, or without one on day 0, when nothing has been released yet."""
    app = FastAPI(
        title="Bike demand",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
    )
    direct = APIRouter(route_class=_Direct)

    def the_model() -> Model:
        if model is None:
            raise HTTPException(503, nothing_yet(MODEL))
        return model

    @direct.post(
        "/predict",
        summary="Predict demand",
        description=docs.PREDICT,
        responses=docs.PREDICT_ANSWERS,
        response_model=Prediction | list[Prediction],
        openapi_extra={"requestBody": docs.PREDICT_BODY},
    )
    async def predict(request: Request) -> Response:
        current = the_model()
        rows, listed = parse_rows(await read_body(request))
        answers = [
            {"timestamp": iso(row.timestamp), "prediction": prediction, "model_version": current.version}
            for row, prediction in zip(rows, current.predict(rows), strict=True)
        ]
        return Response(
            json.dumps(answers if listed else answers[0], separators=(",", ":")),
            media_type="application/json",
        )

    app.include_router(direct)

    @app.get("/live", summary="Is the process alive?")
    async def live() -> Status:
        return Status(status="live")

    @app.get("/ready", summary="Can it predict?", responses={503: {"model": Detail}})
    async def ready() -> Status:
        the_model()
        return Status(status="ready")

    @app.get("/model", summary="Which model answers?", responses={503: {"model": Detail}})
    async def about() -> Card:
        return the_model().card

    @app.get("/", include_in_schema=False)
    async def entrance() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return HTMLResponse(docs.PAGE)

    return app


def live_app() -> FastAPI:
    """The application with the model that is live in this project: what each worker process starts."""
    return create_app(load_if_there(MODEL))

"""The application: asks the model, says how it is, and documents itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from bike_demand.data.table import iso
from bike_demand.data.target import DESCRIPTION
from bike_demand.handoff import Input, Output
from bike_demand.serving import docs
from bike_demand.serving.body import read_body
from bike_demand.serving.champion import Champion
from bike_demand.serving.model import Model
from bike_demand.serving.rows import parse_rows
from bike_demand.serving.slot import Follower, Slot
from bike_demand.settings import load_settings
from bike_demand.tracking import Tracking


class Prediction(BaseModel):
    """The answer for one row."""

    timestamp: str
    prediction: float
    model_version: str


class About(BaseModel):
    """Which model answers, what it takes and what it gives."""

    name: str
    version: str
    digest: str
    inputs: tuple[Input, ...]
    output: Output


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


def create_app(
    slot: Slot, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
) -> FastAPI:
    """The application with the model in the slot: there is none on day 0, when nothing was released yet."""
    app = FastAPI(
        title="Bike demand",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    direct = APIRouter(route_class=_Direct)

    def the_model() -> Model:
        model = slot.model
        if model is None:
            raise HTTPException(503, slot.reason())
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
    async def about() -> About:
        model = the_model()
        card = model.card
        return About(
            name=card.name, version=model.version, digest=model.digest, inputs=card.inputs, output=card.output
        )

    @app.get("/", include_in_schema=False)
    async def entrance() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return HTMLResponse(docs.PAGE)

    return app


def live_app() -> FastAPI:
    """The application with the version that is live in the registry: what each worker process starts."""
    settings = load_settings()
    slot = Slot()
    follower = Follower(slot, Champion(Tracking(settings)), settings.serving.poll_seconds)

    @asynccontextmanager
    async def following(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(follower.start)
        if slot.model is None:
            print(slot.reason(), flush=True)
        yield
        await asyncio.to_thread(follower.stop)

    return create_app(slot, following)

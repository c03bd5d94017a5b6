"""The application: asks the models, takes outcomes, says how it is, and documents itself."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, Security
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from bike_demand.data.table import iso
from bike_demand.data.target import DESCRIPTION
from bike_demand.errors import UserError
from bike_demand.handoff import Input, Output
from bike_demand.prediction_log.outcomes import Stored
from bike_demand.serving import docs
from bike_demand.serving.answers import Answers, NoAnswerError, answer, version_of
from bike_demand.serving.assignment import Variant
from bike_demand.serving.body import read_body
from bike_demand.serving.dashboard import StatusDocument, StatusReporter
from bike_demand.serving.fallback import Fallback
from bike_demand.serving.guard import Guard
from bike_demand.serving.keys import HEADER
from bike_demand.serving.live import Live, Other, Role
from bike_demand.serving.measured import KEY, Measured, Note
from bike_demand.serving.metrics import CONTENT_TYPE
from bike_demand.serving.outcomes import OutcomeStore, parse_outcomes
from bike_demand.serving.recorder import Recorder
from bike_demand.serving.rows import parse_rows
from bike_demand.serving.slot import Slot
from bike_demand.serving.variables import ENVIRONMENT
from bike_demand.serving.worker import Worker
from bike_demand.settings import load_settings

STATIC = Path(__file__).with_name("static")
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
OUTCOME_SECONDS = 15.0  # for the database to take outcomes


class Prediction(BaseModel):
    """The answer for one row. By `id` it can be followed back to the rows that taught the model."""

    id: str
    timestamp: str
    prediction: float
    variant: Variant
    model_version: str
    replaced: list[str] | None = Field(
        None, description="fields that were not as they normally are: answered with what is usual"
    )


class Kept(BaseModel):
    """What became of outcomes: how many hours are new, were known already, or got another count."""

    new: int
    unchanged: int
    revised: int


class Beside(BaseModel):
    """The model that answers beside the live one, and for which share of the hours its answer is shown."""

    version: str
    digest: str
    deployment: str
    role: Role
    share: float


class About(BaseModel):
    """Which model answers, what it takes and what it gives, and which other one answers beside it."""

    name: str
    version: str
    digest: str
    deployment: str
    other: Beside | None
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
    slot: Slot,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    *,
    guard: Guard | None = None,
    recorder: Recorder | None = None,
    outcomes: OutcomeStore | None = None,
    fallback: Fallback | None = None,
    status: StatusReporter | None = None,
) -> FastAPI:
    """The application with what is live in the slot: nothing is on day 0, when nothing was released yet.

    Without a guard everybody may ask, without a recorder nothing is kept but metrics, and without a store
    outcomes are refused.
    """
    guard, recorder, fallback = guard or Guard(), recorder or Recorder(), fallback or Fallback()
    app = FastAPI(
        title="Bike demand",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    direct = APIRouter(route_class=_Direct)
    # For the documentation; each route asks the guard itself.
    key = [Security(APIKeyHeader(name=HEADER, auto_error=False))]

    def what_is_live() -> Live:
        live = slot.live
        if live is None:
            raise HTTPException(503, slot.reason())
        return live

    @direct.post(
        "/predict",
        summary="Predict demand",
        description=docs.PREDICT,
        responses=docs.PREDICT_ANSWERS,
        response_model=Prediction | list[Prediction],
        openapi_extra={"requestBody": docs.PREDICT_BODY},
        dependencies=key,
    )
    async def predict(request: Request) -> Response:
        client = guard.client(request, "client")
        live = what_is_live()
        asked, listed = parse_rows(await read_body(request))
        rows, replaced = fallback.apply(asked)
        try:
            answers = answer(live, rows, client, recorder.metrics.failed)
        except NoAnswerError as error:
            request.scope[KEY] = Note(client, (), live.model.version)
            raise HTTPException(500, str(error)) from None
        if replaced is not None:
            answers = answers._replace(asked=asked, replaced=replaced)
        request.scope[KEY] = Note(client, answers.ids, version_of(answers))
        recorder.answered(answers)
        each = _as_json(answers)
        return Response(f"[{','.join(each)}]" if listed else each[0], media_type="application/json")

    @direct.post(
        "/outcomes",
        summary="Say what happened",
        description=docs.OUTCOMES,
        responses=docs.OUTCOMES_ANSWERS,
        response_model=Kept,
        openapi_extra={"requestBody": docs.OUTCOMES_BODY},
        dependencies=key,
    )
    async def take_outcomes(request: Request) -> Response:
        client = guard.client(request, "client")
        request.scope[KEY] = Note(client)
        given = parse_outcomes(await read_body(request))
        if outcomes is None:
            raise HTTPException(503, "this environment has no database, so outcomes cannot be kept")

        def keep() -> Stored:
            # Who reads an outcome finds the predictions that it belongs to.
            recorder.flush()
            return outcomes.store(given)

        try:
            stored = await asyncio.wait_for(asyncio.to_thread(keep), OUTCOME_SECONDS)
        except (UserError, TimeoutError) as error:
            why = str(error) or "the database takes too long"
            raise HTTPException(503, f"nothing is acknowledged, send it again later: {why}") from None
        recorder.metrics.outcomes(stored)
        return Response(Kept(**vars(stored)).model_dump_json(), media_type="application/json")

    app.include_router(direct)
    app.add_middleware(Measured, recorder=recorder, direct={("POST", "/predict"): predict})

    @app.get("/live", summary="Is the process alive?")
    async def live() -> Status:
        return Status(status="live")

    @app.get("/ready", summary="Can it predict?", responses={503: {"model": Detail}})
    async def ready() -> Status:
        what_is_live()
        return Status(status="ready")

    @app.get(
        "/model", summary="Which model answers?", responses=docs.REFUSED | docs.NO_MODEL, dependencies=key
    )
    async def about(request: Request) -> About:
        request.scope[KEY] = Note(guard.client(request, "operations"))
        # Who asks what answers now may have changed what is normal a moment ago.
        await asyncio.to_thread(recorder.flush)
        live = what_is_live()
        model = live.model
        return About(
            name=model.card.name,
            version=model.version,
            digest=model.digest,
            deployment=live.deployment,
            other=_beside(live.other) if live.other else None,
            inputs=model.card.inputs,
            output=model.card.output,
        )

    @app.get(
        "/metrics",
        summary="Numbers for Prometheus",
        responses=docs.REFUSED | docs.METRICS,
        response_class=Response,
        dependencies=key,
    )
    async def metrics(request: Request) -> Response:
        request.scope[KEY] = Note(guard.client(request, "operations"))
        recorder.sync()
        return Response(await asyncio.to_thread(recorder.metrics.text), media_type=CONTENT_TYPE)

    if status is not None:
        app.mount("/static", StaticFiles(directory=STATIC))

        @app.get(
            "/status",
            summary="How are the service and the loop?",
            responses=docs.REFUSED,
            response_model=StatusDocument,
            dependencies=key,
        )
        async def get_status(request: Request) -> Response:
            request.scope[KEY] = Note(guard.client(request, "operations", browser=True))
            content = await asyncio.to_thread(status.json, slot.live, slot.problem)
            headers = {"Cache-Control": "no-store"}
            return Response(content, media_type="application/json", headers=headers)

        @app.get("/dashboard", include_in_schema=False)
        async def dashboard(request: Request) -> FileResponse:
            request.scope[KEY] = Note(guard.client(request, "operations", browser=True))
            return FileResponse(STATIC / "dashboard.html", headers=PAGE_HEADERS)

    @app.get("/", include_in_schema=False)
    async def entrance() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return HTMLResponse(docs.PAGE)

    return app


def live_app() -> FastAPI:
    """The application with what is live in the registry: what each worker process starts."""
    worker = Worker(load_settings(), os.environ.get(ENVIRONMENT, "production"))

    @asynccontextmanager
    async def following(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(worker.start)
        yield
        await asyncio.to_thread(worker.stop)

    return create_app(
        worker.slot,
        following,
        guard=worker.guard,
        recorder=worker.recorder,
        outcomes=worker.outcomes,
        fallback=worker.fallback,
        status=worker.status,
    )


def _beside(other: Other) -> Beside:
    model = other.model
    return Beside(
        version=model.version,
        digest=model.digest,
        deployment=other.deployment,
        role=other.role,
        share=other.share,
    )


def _as_json(answers: Answers) -> list[str]:
    """Each answer as JSON. Put together here: there is nothing in it that needs quoting."""
    live = answers.live
    versions = {"champion": live.model.version}
    if live.other is not None:
        versions["challenger"] = live.other.model.version
    made = [
        f'{{"id":"{id_}","timestamp":"{iso(row.timestamp)}","prediction":{prediction!r},"variant":"{who}",'
        f'"model_version":"{versions[who]}"}}'
        for id_, row, prediction, who in zip(
            answers.ids, answers.rows, answers.predictions, answers.variants, strict=True
        )
    ]
    for at, changes in enumerate(answers.replaced or ()):
        if changes:
            made[at] = f'{made[at][:-1]},"replaced":{json.dumps(list(changes))}}}'
    return made

"""The upper limit for a FastAPI service: an ordinary route with a body model that returns a constant."""

import sys
from datetime import datetime

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Row(BaseModel):
    """The fields of a request to the levels' applications."""

    timestamp: datetime
    holiday: int
    workingday: int
    weather: int
    temp_c: float
    feels_like_c: float
    humidity: float | None
    windspeed_kmh: float


@app.post("/predict")
async def predict(row: Row) -> dict[str, float]:  # noqa: ARG001 -- it is parsed and validated, not used
    return {"prediction": 42.0}


@app.get("/live")
async def live() -> dict[str, str]:
    return {"status": "live"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")

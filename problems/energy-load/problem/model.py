"""The model that is fitted."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class Params(BaseModel):
    """Tunable hyper-parameters, set in params.yaml; everything else is fixed below."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    max_iter: Annotated[int, Field(ge=1)] = 150
    max_leaf_nodes: Annotated[int, Field(ge=2)] = 31
    min_samples_leaf: Annotated[int, Field(ge=1)] = 20
    random_state: Annotated[int, Field(ge=0)] = 0


def build_model(params: Params) -> "Pipeline":
    """The model before fitting. A missing temperature needs no imputation: trees learn where to send it."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline

    model = HistGradientBoostingRegressor(early_stopping=False, **params.model_dump())
    return Pipeline([("model", model)])

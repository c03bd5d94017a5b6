"""The estimator and its hyperparameters."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class Params(BaseModel):
    """Hyperparameters that params.yaml may set; the others are fixed in build_model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    max_iter: Annotated[int, Field(ge=1)] = 100
    max_leaf_nodes: Annotated[int, Field(ge=2)] = 31
    min_samples_leaf: Annotated[int, Field(ge=1)] = 20
    random_state: Annotated[int, Field(ge=0)] = 0


def build_model(params: Params) -> "Pipeline":
    """The model before fitting. Poisson loss, because the variance of counts grows with their mean."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline

    regressor = HistGradientBoostingRegressor(loss="poisson", early_stopping=False, **params.model_dump())
    return Pipeline([("model", regressor)])

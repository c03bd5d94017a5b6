"""The model that is fitted."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from bike_demand.problem.features import TEXTS

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class Params(BaseModel):
    """Tunable hyper-parameters, set in params.yaml; everything else is fixed below."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.06
    max_iter: Annotated[int, Field(ge=1)] = 80
    max_leaf_nodes: Annotated[int, Field(ge=2)] = 8
    min_samples_leaf: Annotated[int, Field(ge=1)] = 30
    random_state: Annotated[int, Field(ge=0)] = 0


def build_model(params: Params) -> "Pipeline":
    """The model before fitting: small trees, as a binary label carries little information."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    model = HistGradientBoostingClassifier(early_stopping=False, **params.model_dump())
    # An unseen text is encoded as all zeros.
    texts = ("texts", OneHotEncoder(handle_unknown="ignore"), list(TEXTS))
    columns = ColumnTransformer([texts], remainder="passthrough", sparse_threshold=0)
    return Pipeline([("columns", columns), ("model", model)])

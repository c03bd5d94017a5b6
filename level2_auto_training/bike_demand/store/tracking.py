"""Runs, registered models and the alias of the one that is live, in MLflow."""

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.settings import Settings
from bike_demand.data.features import to_columns, to_inputs
from bike_demand.handoff import OUTPUT_NAME, HandOff, open_session, read_handoff
from bike_demand.store.connection import SETTING, Connection

EXPERIMENT = MODEL_NAME = PROBLEM.name
CHAMPION = "champion"  # the alias of the version that the service answers with
HANDOFF_ARTIFACT = "handoff"  # where a run keeps its hand-off folder

# Tags of a version, put on it as soon as it is registered.
HOLDOUT_TAG = "holdout_run_id"
DIGEST_TAG = "digest"  # the last one: a version without it was cut off, and counts for nothing
# Of the registered model.
DESCRIPTION = f"""{PROBLEM.description}

- label: `{PROBLEM.label_name}`, {PROBLEM.label_description}; known {PROBLEM.label_delay} later
- predictions: in {PROBLEM.unit}; error: {PROBLEM.loss.name} in {PROBLEM.loss.unit}
- new versions: `python -m bike_demand train`; the one with the alias `{CHAMPION}` answers the requests
"""
# What somebody needs to predict with a logged model, at the versions that are installed: those of the lock.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Dataset:
    """The rows that a run learned from. `first` and `last` are event times in ISO 8601."""

    name: str
    digest: str  # at most 36 characters
    rows: int
    first: str
    last: str


@dataclass(frozen=True)
class Run:
    """A run as it was logged."""

    id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    dataset: Dataset | None
    finished: bool = True  # False while it is at work, and for good where it was cut off


@dataclass(frozen=True)
class Logged:
    """A run that was logged, and the number of the version that its model was registered as, if it was."""

    run_id: str
    version: int | None


@dataclass(frozen=True)
class Version:
    """One registered version of the model. `digest` is that of its model file, as model.json has it."""

    number: int
    run_id: str
    holdout_run_id: str | None
    digest: str
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    description: str = field(default="", compare=False)


class Tracking(Connection):
    """The runs and models in the store that the settings name, or in another one. Safe to share between
    threads.
    """

    def __init__(self, settings: Settings, uri: str = "", given: str = SETTING) -> None:
        super().__init__(uri or settings.tracking.uri, given)

    # ---- runs

    def log_run(
        self,
        name: str,
        *,
        params: Mapping[str, str | float | int],
        metrics: Mapping[str, float],
        dataset: Dataset,
        tags: Mapping[str, str],
        artifacts: Sequence[Path] = (),
        figures: Mapping[str, Any] = MappingProxyType({}),
        model: Path | None = None,
        holdout_run_id: str | None = None,
        version_tags: Mapping[str, str] = MappingProxyType({}),
        description: str = "",
    ) -> Logged:
        """Log a finished run. One that was cut off stays there as FAILED.

        `artifacts` are files and folders, kept under their names; `figures` are Matplotlib's, by file name.
        `model` is a hand-off folder: it is kept as it is, and once more as an MLflow model with its signature
        and an input example. With a `holdout_run_id`, that of its holdout model, it becomes the next version
        of the registered model, with `version_tags` and the `description`. Raises UserError where the
        hand-off is damaged.
        """
        handoff = None if model is None else read_handoff(model)
        linked = {} if holdout_run_id is None else {HOLDOUT_TAG: holdout_run_id}
        with (
            self.as_default() as mlflow,
            mlflow.start_run(
                experiment_id=self.experiment(mlflow, EXPERIMENT), run_name=name, tags={**tags, **linked}
            ) as run,
        ):
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))
            mlflow.log_input(_to_mlflow(dataset), context="training")
            for file, figure in figures.items():
                mlflow.log_figure(figure, file)
            for path in artifacts:
                mlflow.log_artifact(str(path))
            version = None
            if model is not None and handoff is not None:
                mlflow.log_artifacts(str(model), HANDOFF_ARTIFACT)
                mlflow.set_tag(DIGEST_TAG, handoff.card.version)
                version = _log_model(handoff, None if holdout_run_id is None else MODEL_NAME)
                if version is not None:
                    self.tag(version, {**version_tags, **linked})
                    self.describe(version, description)
                    self.tag(version, {DIGEST_TAG: handoff.card.version})
        return Logged(run.info.run_id, version)

    def runs_with_tag(self, key: str, value: str) -> list[Run]:
        """The runs that have this tag, newest first, without those that were deleted."""
        if not self.exists():
            return []
        with self.client() as client:
            found = client.search_runs(
                [self.experiment(client, EXPERIMENT)],
                f"tags.`{key}` = '{value}'",
                order_by=["attributes.start_time DESC"],
            )
        return [_run(each) for each in found]

    def run(self, run_id: str) -> Run:
        """A run as it was logged. Raises UserError where there is none of that id."""
        with self.client(f"run {run_id}") as client:
            return _run(client.get_run(run_id))

    def fetch(self, run_id: str, artifact: str, into: Path) -> Path:
        """Copy a file or folder that a run kept (empty: all) to a folder; the path of the copy. Raises
        UserError.
        """
        into.mkdir(parents=True, exist_ok=True)
        with self.client(f"{artifact} of run {run_id}") as client:
            kept = {each.path for each in client.list_artifacts(run_id, artifact.rpartition("/")[0] or None)}
            if artifact and artifact not in kept:
                raise UserError(f"run {run_id}: it kept no {artifact}; choose another run")
            return Path(client.download_artifacts(run_id, artifact, str(into.absolute())))

    # ---- registered versions

    def version(self, number: int) -> Version:
        """The registered version of that number. Raises UserError where there is none."""
        with self.client(f"version {number}") as client:
            return _version(client.get_model_version(MODEL_NAME, str(number)))

    def versions(self) -> list[Version]:
        """All registered versions, ascending."""
        if not self.exists():
            return []
        with self.client() as client:
            # MLflow's page is of 10,000 versions: all that there will ever be.
            found = [_version(each) for each in client.search_model_versions(f"name = '{MODEL_NAME}'")]
        return sorted((each for each in found if each.digest), key=lambda version: version.number)

    def aliases(self) -> dict[str, int]:
        """All aliases and their versions, as they were at one moment."""
        from mlflow.exceptions import MlflowException

        if not self.exists():
            return {}
        with self.client() as client:
            try:
                model = client.get_registered_model(MODEL_NAME)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
        return {alias: int(number) for alias, number in model.aliases.items()}

    def champion(self) -> Version | None:
        """The version that has the alias champion; None while nothing was released."""
        number = self.aliases().get(CHAMPION)
        return None if number is None else self.version(number)

    def set_alias(self, alias: str, number: int, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Give a version the alias, which is one step. The tags are put on it before."""
        self.tag(number, tags)
        with self.client(f"version {number}") as client:
            client.set_registered_model_alias(MODEL_NAME, alias, str(number))

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Put tags on a version."""
        with self.client(f"version {number}") as client:
            for key, value in tags.items():
                client.set_model_version_tag(MODEL_NAME, str(number), key, value)

    def describe(self, number: int, text: str) -> None:
        """Give a version its description, and the registered model that of the problem, both in Markdown."""
        with self.client(f"version {number}") as client:
            client.update_registered_model(MODEL_NAME, DESCRIPTION)
            client.update_model_version(MODEL_NAME, str(number), text)


def _run(found: Any) -> Run:
    inputs = found.inputs.dataset_inputs if found.inputs else []
    return Run(
        found.info.run_id,
        found.info.run_name or "",
        found.data.params,
        found.data.metrics,
        {key: value for key, value in found.data.tags.items() if not key.startswith("mlflow.")},
        _dataset(inputs[0].dataset) if inputs else None,
        found.info.status == "FINISHED",
    )


def _log_model(handoff: HandOff, registered_model_name: str | None) -> int | None:
    """Log the model in the active run; the number of the version that it is registered as, if it is."""
    import mlflow
    import onnx
    from mlflow.models import infer_signature

    row = Inputs.model_validate_json(json.dumps(PROBLEM.example))
    example = to_inputs(to_columns([row]), handoff.card.names)
    (predicted,) = open_session(handoff.model).run([OUTPUT_NAME], example)
    with redirect_stderr(io.StringIO()):  # it prints what is returned here
        info = mlflow.onnx.log_model(
            onnx.load_from_string(handoff.model),
            name="model",
            signature=infer_signature(example, {OUTPUT_NAME: predicted}),
            input_example=example,
            # Named, as MLflow would start a process to guess them.
            pip_requirements=[f"{package}=={installed(package)}" for package in REQUIREMENTS],
            registered_model_name=registered_model_name,
        )
    return None if registered_model_name is None else int(info.registered_model_version)


def _to_mlflow(dataset: Dataset) -> Any:
    """The data set as MLflow logs it: once for each name and digest, so the period is in the name."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    source = CodeDatasetSource({name: str(value) for name, value in asdict(dataset).items()})
    name = f"{dataset.name} {dataset.first[:13]} to {dataset.last[:13]}"
    # Documented by MLflow; `profile` is abstract in the base class and optional.
    return MetaDataset(source, name, dataset.digest)  # type: ignore[abstract]


def _dataset(entity: Any) -> Dataset:
    kept = json.loads(entity.source)["tags"]
    return Dataset(**kept | {"rows": int(kept["rows"])})


def _version(found: Any) -> Version:
    tags = dict(found.tags)
    number, holdout, digest = int(found.version), tags.pop(HOLDOUT_TAG, None), tags.pop(DIGEST_TAG, "")
    return Version(number, found.run_id, holdout, digest, MappingProxyType(tags), found.description or "")

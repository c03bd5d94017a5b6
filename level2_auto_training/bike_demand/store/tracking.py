"""Runs, registered models and the alias of the live version, in MLflow."""

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
from bike_demand.data.model_inputs import to_columns, to_tensors
from bike_demand.handoff import OUTPUT_NAME, Handoff, open_session, read_handoff
from bike_demand.store.connection import URI_SETTING, Connection

EXPERIMENT = MODEL_NAME = PROBLEM.name
CHAMPION = "champion"  # alias of the live version
HANDOFF_ARTIFACT = "handoff"  # artifact path of a run's hand-off folder

# Tags that a version gets at registration.
HOLDOUT_TAG = "holdout_run_id"
DIGEST_TAG = "digest"  # written last: a version without it is incomplete and ignored
# Description of the registered model.
DESCRIPTION = f"""{PROBLEM.description}

- label: `{PROBLEM.label_name}`, {PROBLEM.label_description}; known {PROBLEM.label_delay} later
- predictions: in {PROBLEM.unit}; error: {PROBLEM.loss.name} in {PROBLEM.loss.unit}
- new versions: `python -m bike_demand train`; the one with the alias `{CHAMPION}` is live
"""
# The packages needed to predict with a logged model, pinned to the installed (locked) versions.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Dataset:
    """The rows that a run was trained on. `first` and `last` are event times in ISO 8601."""

    name: str
    digest: str  # at most 36 characters
    rows: int
    first: str
    last: str


@dataclass(frozen=True)
class Run:
    """A logged run."""

    id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    dataset: Dataset | None
    finished: bool = True  # False while it is running, or if it was interrupted


@dataclass(frozen=True)
class Logged:
    """A logged run, and the number of the registered version, if any."""

    run_id: str
    version: int | None


@dataclass(frozen=True)
class Version:
    """A registered version of the model. `digest` is that of the model file, as in model.json."""

    number: int
    run_id: str
    holdout_run_id: str | None
    digest: str
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    description: str = field(default="", compare=False)


class Tracking(Connection):
    """The runs and models in the store named by the settings, or in another one. Thread-safe."""

    def __init__(self, settings: Settings, uri: str = "", setting: str = URI_SETTING) -> None:
        super().__init__(uri or settings.tracking.uri, setting)

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
        model: Path | None = None,
        holdout_run_id: str | None = None,
        version_tags: Mapping[str, str] = MappingProxyType({}),
        description: str = "",
    ) -> Logged:
        """Log a finished run. An interrupted run is left with the status FAILED.

        `artifacts` are files and folders, stored under their names. `model` is a hand-off folder, stored as
        it is for the service, and also as an MLflow model with signature and input example, for MLflow's own
        tools. With a `holdout_run_id`, the model is registered as the next version, with `version_tags` and
        `description`. Raises UserError if the hand-off is damaged.
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
            for path in artifacts:
                mlflow.log_artifact(str(path))
            version = None
            if model is not None and handoff is not None:
                mlflow.log_artifacts(str(model), HANDOFF_ARTIFACT)
                mlflow.set_tag(DIGEST_TAG, handoff.manifest.version)
                version = _log_model(handoff, None if holdout_run_id is None else MODEL_NAME)
                if version is not None:
                    self.tag(version, {**version_tags, **linked})
                    self.describe(version, description)
                    self.tag(version, {DIGEST_TAG: handoff.manifest.version})
        return Logged(run.info.run_id, version)

    def runs_with_tag(self, key: str, value: str) -> list[Run]:
        """The runs with this tag, newest first, without deleted ones."""
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
        """A logged run. Raises UserError if there is none with this id."""
        with self.client(f"run {run_id}") as client:
            return _run(client.get_run(run_id))

    def fetch(self, run_id: str, artifact: str, into: Path) -> Path:
        """Copy a file or folder of a run's artifacts ("": all) to a folder. Returns the path of the copy.
        Raises UserError.
        """
        into.mkdir(parents=True, exist_ok=True)
        with self.client(f"{artifact} of run {run_id}") as client:
            kept = {each.path for each in client.list_artifacts(run_id, artifact.rpartition("/")[0] or None)}
            if artifact and artifact not in kept:
                raise UserError(f"run {run_id}: it has no {artifact}; choose another run")
            return Path(client.download_artifacts(run_id, artifact, str(into.absolute())))

    # ---- registered versions

    def version(self, number: int) -> Version:
        """The registered version with that number. Raises UserError if there is none."""
        with self.client(f"version {number}") as client:
            return _version(client.get_model_version(MODEL_NAME, str(number)))

    def versions(self) -> list[Version]:
        """All registered versions, ascending."""
        if not self.exists():
            return []
        with self.client() as client:
            # MLflow's pages hold 10,000 versions, more than there will ever be.
            found = [_version(each) for each in client.search_model_versions(f"name = '{MODEL_NAME}'")]
        return sorted((each for each in found if each.digest), key=lambda version: version.number)

    def aliases(self) -> dict[str, int]:
        """All aliases with their versions."""
        return self.registered_model()[0]

    def registered_model(self) -> tuple[dict[str, int], dict[str, str]]:
        """All aliases with their versions, and the tags of the registered model, read in one call."""
        from mlflow.exceptions import MlflowException

        if not self.exists():
            return {}, {}
        with self.client() as client:
            try:
                model = client.get_registered_model(MODEL_NAME)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}, {}
                raise
        return {alias: int(number) for alias, number in model.aliases.items()}, dict(model.tags)

    def champion(self) -> Version | None:
        """The version with the alias champion; None if nothing was released."""
        number = self.aliases().get(CHAMPION)
        return None if number is None else self.version(number)

    def set_alias(self, alias: str, number: int, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write the tags, then move the alias to the version, which is atomic."""
        self.tag(number, tags)
        with self.client(f"version {number}") as client:
            client.set_registered_model_alias(MODEL_NAME, alias, str(number))

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Write tags of a version."""
        with self.client(f"version {number}") as client:
            for key, value in tags.items():
                client.set_model_version_tag(MODEL_NAME, str(number), key, value)

    def describe(self, number: int, text: str) -> None:
        """Set the Markdown descriptions of a version and of the registered model."""
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


def _log_model(handoff: Handoff, registered_model_name: str | None) -> int | None:
    """Log the model in the active run. Returns the number of its registered version, if any."""
    import mlflow
    import onnx
    from mlflow.models import infer_signature

    row = Inputs.model_validate_json(json.dumps(PROBLEM.example))
    example = to_tensors(to_columns([row]), handoff.manifest.names)
    (predicted,) = open_session(handoff.model).run([OUTPUT_NAME], example)
    with redirect_stderr(io.StringIO()):  # log_model prints what it returns
        info = mlflow.onnx.log_model(
            onnx.load_from_string(handoff.model),
            name="model",
            signature=infer_signature(example, {OUTPUT_NAME: predicted}),
            input_example=example,
            # Given explicitly, because MLflow would start a process to infer them.
            pip_requirements=[f"{package}=={installed(package)}" for package in REQUIREMENTS],
            registered_model_name=registered_model_name,
        )
    return None if registered_model_name is None else int(info.registered_model_version)


def _to_mlflow(dataset: Dataset) -> Any:
    """The data set as MLflow logs it. MLflow keeps one per name and digest, so the name has the period."""
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

"""Runs, registered models and the alias of the one that is live: the only module that imports MLflow."""

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.settings import ARTIFACTS, Settings
from bike_demand.data.features import to_columns, to_matrix
from bike_demand.handoff import INPUT_NAME, OUTPUT_NAME, read_handoff
from bike_demand.store.address import absolute, is_database, reach, without_password

VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT = MODEL_NAME = PROBLEM.name
# Aliases: services serve what they say. `store.deployments` moves them.
CHAMPION = "champion"  # the version that users get
CHALLENGER = "challenger"  # the one that is tried against it: A/B test or shadow
PREVIOUS = "previous"  # the champion before, while the present one is watched
HANDOFF_ARTIFACT = "handoff"  # where a run keeps its hand-off folder

# Tags of a version.
HOLDOUT_TAG = "holdout_run_id"
DIGEST_TAG = "digest"
DEPLOYMENT_TAG = "deployment"  # the id of the deployment that put it where it is
AB_TAG = "ab"  # of a challenger: an `ABTest`

# What somebody needs to answer with a logged model, at the versions that are installed: those of the lock.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")

_SWITCHES = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors are raised as well, and reported in one line
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that stops answering half way is told in a minute, not in the hours that MLflow would try.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
_making = threading.Lock()

T = TypeVar("T")


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
    """What is on record about a run."""

    id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    dataset: Dataset | None


@dataclass(frozen=True)
class Version:
    """One registered version of the model. `digest` is that of its model file, as model.json has it."""

    number: int
    run_id: str
    holdout_run_id: str | None
    digest: str
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class TrafficSplit:
    """The versions that answer in one environment: the one that is shown, and the other beside it, if any.

    `share` of the event times show the other's answer: 0 for a shadow, and for the champion before.
    """

    shown: Version
    other: Version | None = None
    role: Literal["challenger", "shadow", "previous"] | None = None
    share: float = 0.0
    salt: str = ""


class ABTest(BaseModel):
    """The tag `ab` of a challenger: how it is tested, and since when."""

    model_config = ConfigDict(frozen=True)

    mode: Literal["ab", "shadow"]
    share: float
    salt: str
    began: datetime


class Tracking:
    """The store of runs and models that the settings name: a database, or an MLflow server.

    A local database is made on first use. Whatever is wrong with the store comes as a UserError of one line.
    Safe to share between threads.
    """

    def __init__(self, settings: Settings) -> None:
        self.uri = absolute(settings.tracking.uri)
        self._file = Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:") else None
        self._artifacts = ARTIFACTS.absolute()
        self._state: bytes | None = None  # of the local database, when the answers were given
        self._answers: dict[str, Any] = {}
        self._answering = threading.Lock()
        for name, value in _SWITCHES.items():  # before MLflow is imported, which reads some of them only then
            os.environ.setdefault(name, value)
        if self._file:
            # A connection kept open would go on reading a database that was deleted and made anew.
            os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        self.where = str(self._file) if self._file else without_password(self.uri)  # for messages

    # ---- runs

    def log_run(
        self,
        name: str,
        *,
        params: Mapping[str, str | float | int],
        metrics: Mapping[str, float],
        dataset: Dataset,
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
        model: Path | None = None,
    ) -> str:
        """Log a finished run; its id. One that was cut off stays there as FAILED.

        `artifacts` are files and folders, kept under their names. `model` is a hand-off folder: it is kept as
        it is, and once more as an MLflow model with its signature and an input example.
        """
        handoff = None if model is None else read_handoff(model)
        with self._told(), self._default_store() as mlflow:
            experiment = self._experiment(self._client())
            with mlflow.start_run(experiment_id=experiment, run_name=name, tags=dict(tags)) as run:
                mlflow.log_params(dict(params))
                mlflow.log_metrics(dict(metrics))
                mlflow.log_input(_to_mlflow(dataset), context="training")
                for path in artifacts:
                    if path.is_dir():
                        mlflow.log_artifacts(str(path), path.name)
                    else:
                        mlflow.log_artifact(str(path))
                if model is not None and handoff is not None:
                    mlflow.log_artifacts(str(model), HANDOFF_ARTIFACT)
                    mlflow.set_tag(DIGEST_TAG, handoff.card.version)
                    _log_model(handoff.model)
            run_id: str = run.info.run_id
        return run_id

    def runs_with_tag(self, key: str, value: str) -> list[Run]:
        """The finished runs that have this tag, newest first, without those that were deleted."""
        if not self._exists():
            return []
        with self._told():
            client = self._client()
            found = client.search_runs(
                [self._experiment(client)],
                f"attributes.status = 'FINISHED' and tags.`{key}` = '{value}'",
                order_by=["attributes.start_time DESC"],
            )
        return [_run(each) for each in found]

    def run(self, run_id: str) -> Run:
        """What is on record about a run. Raises UserError where there is none of that id."""
        with self._told(f"run {run_id}"):
            self._must_exist(f"run {run_id}")
            found = self._client().get_run(run_id)
        return _run(found)

    def fetch(self, run_id: str, artifact: str, into: Path) -> Path:
        """Copy a file or folder that a run kept to a folder; the path of the copy. Raises UserError."""
        into.mkdir(parents=True, exist_ok=True)
        with self._told(f"{artifact} of run {run_id}"):
            self._must_exist(f"run {run_id}")
            client = self._client()
            parent = artifact.rpartition("/")[0]
            known = {each.path: each.is_dir for each in client.list_artifacts(run_id, parent or None)}
            if artifact not in known:
                raise UserError(f"run {run_id}: it kept no {artifact}; choose another run")
            return Path(client.download_artifacts(run_id, artifact, str(into.absolute())))

    # ---- registered versions

    def register(self, run_id: str, holdout_run_id: str, tags: Mapping[str, str]) -> Version:
        """Make the run's model the next version of the registered model, linked to its holdout model.

        Raises UserError where a run is unknown, or kept no model.
        """
        digest = self.run(run_id).tags.get(DIGEST_TAG)
        self.run(holdout_run_id)
        with self._told():
            client = self._client()
            outputs = client.get_run(run_id).outputs
            if digest is None or not outputs or not outputs.model_outputs:
                raise UserError(f"run {run_id}: it kept no model to register; choose another run")
            # To people on a terminal it reports what is returned here.
            with self._default_store() as mlflow, redirect_stderr(io.StringIO()):
                made = mlflow.register_model(
                    f"models:/{outputs.model_outputs[0].model_id}",
                    MODEL_NAME,
                    tags={**tags, HOLDOUT_TAG: holdout_run_id, DIGEST_TAG: digest},
                )
        return self.version(int(made.version))

    def version(self, number: int) -> Version:
        """The registered version of that number. Raises UserError where there is none."""
        what = f"version {number}"
        with self._told(what):
            self._must_exist(what)
            return self._once(
                what, lambda: _version(self._client().get_model_version(MODEL_NAME, str(number)))
            )

    def versions(self) -> list[Version]:
        """All registered versions, ascending."""
        if not self._exists():
            return []
        with self._told():
            return list(self._once("versions", self._versions))

    def newest(self) -> Version | None:
        """The version that was registered last; None while there is none."""
        return next(reversed(self.versions()), None)

    def champion(self) -> Version | None:
        """The version that has the alias champion; None while nothing was released."""
        number = self.aliases().get(CHAMPION)
        return None if number is None else self.version(number)

    def aliases(self) -> dict[str, int]:
        """All aliases and their versions, as they were at one moment."""
        if not self._exists():
            return {}
        with self._told():
            return self._aliases()

    def traffic_split(self, alias: str) -> TrafficSplit | None:
        """What answers in the environment whose alias this is; None while there is nothing.

        Beside the champion that is the challenger or, without one, the champion before while it is there.
        """
        aliases = self.aliases()
        if alias not in aliases:
            return None
        shown = self.version(aliases[alias])
        if alias != CHAMPION:
            return TrafficSplit(shown)
        challenger, previous = aliases.get(CHALLENGER), aliases.get(PREVIOUS)
        if challenger is not None and challenger != shown.number:
            other = self.version(challenger)
            test = ab_test(other)
            if test is not None and test.mode == "shadow":
                return TrafficSplit(shown, other, "shadow", salt=test.salt)
            if test is not None:
                return TrafficSplit(shown, other, "challenger", test.share, test.salt)
        if previous is not None and previous != shown.number:
            return TrafficSplit(shown, self.version(previous), "previous")
        return TrafficSplit(shown)

    def set_alias(self, alias: str, number: int, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Give a version the alias, which is one step. The tags are put on it before."""
        with self._told(f"version {number}"):
            self.tag(number, tags)
            self._client().set_registered_model_alias(MODEL_NAME, alias, str(number))

    def remove_alias(self, alias: str) -> None:
        """Take the alias away; nothing happens where it is not set."""
        if alias in self.aliases():
            with self._told():
                self._client().delete_registered_model_alias(MODEL_NAME, alias)

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Put tags on a version."""
        with self._told(f"version {number}"):
            client = self._client()
            client.get_model_version(MODEL_NAME, str(number))
            for key, value in tags.items():
                client.set_model_version_tag(MODEL_NAME, str(number), key, value)

    # ---- the registered model

    def _versions(self) -> list[Version]:
        # MLflow's page is of 10,000 versions: all that there will ever be.
        found = self._client().search_model_versions(f"name = '{MODEL_NAME}'")
        held: dict[int, list[str]] = {}
        for alias, number in self._aliases().items():  # a search leaves them out
            held.setdefault(number, []).append(alias)
        versions = (_version(each, held.get(int(each.version), [])) for each in found)
        return sorted(versions, key=lambda version: version.number)

    def _aliases(self) -> dict[str, int]:
        return dict(self._once("aliases", self._ask_for_aliases))

    def _ask_for_aliases(self) -> dict[str, int]:
        from mlflow.exceptions import MlflowException

        try:
            model = self._client().get_registered_model(MODEL_NAME)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: int(number) for alias, number in model.aliases.items()}

    # ---- the store

    def _exists(self) -> bool:
        """Whether anything may be on record: a local database that was not made yet holds nothing."""
        return self._file is None or _holds_something(self._file)

    def _once(self, what: str, ask: Callable[[], T]) -> T:
        """The answer of the store; that of a local database, until something is written into it, given once.

        Services look every second what is live, and MLflow reads all versions for that.
        """
        state = None if self._file is None else state_of(self._file)
        with self._answering:
            if state != self._state:
                self._state, self._answers = state, {}
            if state is not None and what in self._answers:
                known: T = self._answers[what]
                return known
        answer = ask()
        with self._answering:
            # What was written meanwhile may be in the answer or not: the next one who asks will see.
            if state is not None and state == self._state:
                self._answers[what] = answer
        return answer

    @contextmanager
    def _default_store(self) -> Iterator[Any]:
        """Inside, MLflow's functions log to this store.

        MLflow keeps its address in a variable, which settings read too: afterwards that is as it was.
        """
        import mlflow

        before = os.environ.get(VARIABLE)
        mlflow.set_tracking_uri(self.uri)
        try:
            yield mlflow
        finally:
            os.environ.pop(VARIABLE, None)
            if before is not None:
                os.environ[VARIABLE] = before

    def _must_exist(self, what: str) -> None:
        if not self._exists():
            raise UserError(f"{what}: unknown, nothing is on record yet; run `python -m bike_demand train`")

    def _client(self) -> Any:
        """A client of the store, which is made or found to answer first."""
        if self._file is None:
            reach(self.uri)
        elif not _holds_something(self._file):
            self._make_database(self._file)
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    def _make_database(self, file: Path) -> None:
        """Make the database under a lock, at another name, so that nobody ever sees a half of it.

        Processes that made MLflow set up the same new database at once would disturb each other.
        """
        from filelock import FileLock
        from mlflow import MlflowClient

        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            if _holds_something(file):
                return
            new = file.with_name(f".{file.name}.{os.getpid()}-{time.monotonic_ns()}")
            address = f"sqlite:///{new.as_posix()}"
            try:
                self._experiment(MlflowClient(address, address))
                new.replace(file)
            finally:
                new.unlink(missing_ok=True)

    def _experiment(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        with _making:
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                # A database keeps files in this project; an MLflow server knows best where its files go.
                local = f"{self._artifacts.as_uri()}/{EXPERIMENT}" if is_database(self.uri) else None
                try:
                    made: str = client.create_experiment(EXPERIMENT, artifact_location=local)
                    return made
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                        raise
                found = client.get_experiment_by_name(EXPERIMENT)
        experiment: str = found.experiment_id
        return experiment

    @contextmanager
    def _told(self, what: str = "the tracking store") -> Iterator[None]:
        """Errors of the store, in one line. What is no such error is not touched."""
        try:
            yield
        except (UserError, OSError):
            raise
        except Exception as error:
            if not type(error).__module__.startswith(("mlflow.", "sqlalchemy.", "requests.")):
                raise
            raise UserError(f"{what}: {self._explained(error)}") from None

    def _explained(self, error: Exception) -> str:
        """What is wrong with the store, and what to do about it."""
        again = "`python -m bike_demand train` registers a new version"
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            return f"not in {self.where}, never was or was deleted there; {again}"
        said = " ".join(str(error).split())
        if self._file and ("not a database" in said or "malformed" in said):
            return f"{self.where} is damaged; put a backup in its place, or move it away, then {again}"
        return f"{said[:300].rstrip('. ')}; look into {self.where}, or at tracking.uri in params.yaml"


def _run(found: Any) -> Run:
    inputs = found.inputs.dataset_inputs if found.inputs else []
    return Run(
        found.info.run_id,
        found.info.run_name or "",
        found.data.params,
        found.data.metrics,
        {key: value for key, value in found.data.tags.items() if not key.startswith("mlflow.")},
        _dataset(inputs[0].dataset) if inputs else None,
    )


def _log_model(model: bytes) -> None:
    """Log the model in the active run. Its packages are named: MLflow would start a process to guess them."""
    import mlflow
    import numpy as np
    import onnx
    from mlflow.models import infer_signature

    example = {INPUT_NAME: to_matrix(to_columns([Inputs.model_validate_json(json.dumps(PROBLEM.example))]))}
    mlflow.onnx.log_model(
        onnx.load_from_string(model),
        name="model",
        signature=infer_signature(example, {OUTPUT_NAME: np.zeros((1, 1), np.float32)}),
        input_example=example,
        pip_requirements=[f"{package}=={installed(package)}" for package in REQUIREMENTS],
    )


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


def _version(found: Any, aliases: Sequence[str] | None = None) -> Version:
    """A version as MLflow has it; `aliases` are those that it did not tell with it."""
    tags = dict(found.tags)
    return Version(
        int(found.version),
        found.run_id,
        tags.pop(HOLDOUT_TAG, None),
        tags.pop(DIGEST_TAG, ""),
        tuple(found.aliases if aliases is None else aliases),
        MappingProxyType(tags),
    )


def ab_test(challenger: Version) -> ABTest | None:
    """How it is tested. None where no such tag can be read: an alias that was moved out of band must not
    harm the champion.
    """
    try:
        return ABTest.model_validate_json(challenger.tags.get(AB_TAG, ""))
    except ValidationError:
        return None


def _holds_something(database: Path) -> bool:
    return database.exists() and database.stat().st_size > 0


def state_of(database: Path) -> bytes | None:
    """What is another one after each write into a SQLite database: which file it is, when that changed, and
    the file change counter of its header (sqlite.org/fileformat.html). None where this does not tell: there
    is no file, or what is written is kept in another one first (WAL).
    """
    try:
        with database.open("rb") as file:
            header = file.read(28)
            seen = os.fstat(file.fileno())
    except OSError:
        return None
    if header[18:20] != b"\x01\x01":
        return None
    return header[24:] + repr((seen.st_ino, seen.st_mtime_ns, seen.st_size)).encode()

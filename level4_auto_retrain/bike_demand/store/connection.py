"""The connection to MLflow: a local database, created on first use, or the team's server.

Also resolves store addresses, and finds the runs' files in a project that was moved or copied.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bike_demand.core.current import PROBLEM
from bike_demand.core.environment import environment_with
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.core.settings import ARTIFACTS
from bike_demand.store.network_share import explain_sqlite_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI_SETTING = "tracking.uri"  # the default source of the address, for messages
CONNECT_SECONDS = 2.0
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
URI_VARIABLE = "MLFLOW_TRACKING_URI"
_MLFLOW_ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors are raised as well, and reported in one line
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that stops responding halfway is reported within a minute; MLflow's default would take hours.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
# Often set for other projects: they would continue a run, or select another experiment or registry.
_CONFLICTING = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_REGISTRY_URI")
# MLflow stores absolute paths in these columns of its own tables, and has no call to change them:
# https://github.com/mlflow/mlflow/issues/3144
_PATH_COLUMNS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


class Connection:
    """Opens the tracking store at an address. Errors are raised as UserError of one line, which names the
    setting of the address.
    """

    def __init__(self, uri: str, setting: str = URI_SETTING) -> None:
        self.uri, self._setting = normalize_store_uri(uri, setting), setting
        self._file = Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:") else None
        # Another project's store has its files next to its database.
        foreign = self._file if setting != URI_SETTING else None
        self._artifacts = ARTIFACTS.absolute() if foreign is None else foreign.parent / ARTIFACTS.name
        self._relocated: object = None  # the database's state when its paths were last corrected
        self.where = str(self._file or without_password(self.uri))  # for messages
        for name in _CONFLICTING:
            os.environ.pop(name, None)
        for name, value in _MLFLOW_ENVIRONMENT.items():  # before the import: MLflow reads some only then
            os.environ.setdefault(name, value)
        if self._file:
            # A pooled connection would keep reading a database that was deleted and created anew.
            os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")

    def exists(self) -> bool:
        """Whether the store can hold anything; False for a local database that does not exist yet."""
        return self._file is None or (self._file.exists() and self._file.stat().st_size > 0)

    def change_token(self) -> object:
        """A token that changes with every write, or None if that cannot be determined.

        For a local database only the file's metadata are read, so that polling costs next to nothing.
        """
        mark = file_stamp(self._file)
        # File times are coarse: a file changed just now may change again without a new time.
        return None if mark is None or time.time() - mark[1] / 1e9 < 2.0 else mark

    @contextmanager
    def client(self, what: str = "the tracking store", *, create: bool = False) -> "Iterator[MlflowClient]":
        """A client of the store for work on `what`. `create`: make a local database if there is none."""
        if self._file is None:
            require_reachable(self.uri, self._setting)
        elif not self.exists():
            if not create:
                raise UserError(f"{what}: not found, no run logged yet; run `python -m bike_demand train`")
            self._make_database(self._file)
        from mlflow import MlflowClient

        try:
            client = MlflowClient(self.uri, self.uri)
            self._relocate()
            yield client
        except (UserError, OSError):
            raise
        except Exception as error:
            if not type(error).__module__.startswith(("mlflow.", "alembic.", "sqlalchemy.", "requests.")):
                raise
            raise UserError(f"{what}: {self._error_message(error)}") from None

    def _relocate(self) -> None:
        """Correct the paths in the database after the project was moved.

        The project's own database is checked after every change, because it may be used under two paths (in a
        container and on its host); a shared one is checked once.
        """
        if self._setting != URI_SETTING:
            return  # another project's store
        own = self._file is not None and self._file.is_relative_to(self._artifacts.parent)
        if is_database(self.uri) and self._relocated != (file_stamp(self._file) if own else True):
            relocate_artifacts(self.uri, self._artifacts / PROBLEM.name, shared=not own)
            self._relocated = file_stamp(self._file) if own else True

    @contextmanager
    def as_default(self) -> Iterator[Any]:
        """Inside the block, the functions of `mlflow` use this store. Yields `mlflow`."""
        # set_tracking_uri sets the variable, which settings read too; it is restored afterwards.
        with self.client(create=True), environment_with({URI_VARIABLE: self.uri}):
            import mlflow

            mlflow.set_tracking_uri(self.uri)
            yield mlflow

    def experiment(self, client: "MlflowClient", name: str) -> str:
        """The id of the experiment, created on first use."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            # With a database, files are kept in this project; a server decides where its files go.
            local = f"{self._artifacts.as_uri()}/{name}" if is_database(self.uri) else None
            try:
                return str(client.create_experiment(name, artifact_location=local))
            except MlflowException:
                found = client.get_experiment_by_name(name)
                if found is None:  # otherwise another process was faster
                    raise
        return str(found.experiment_id)

    def _make_database(self, file: Path) -> None:
        """Create the database under a lock and a temporary name, so that it is never seen incomplete.

        Processes that initialise the same new database at the same time would conflict.
        """
        from filelock import FileLock
        from mlflow import MlflowClient

        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            if self.exists():
                return
            new = file.with_name(f".{file.name}.{os.getpid()}-{time.monotonic_ns()}")
            address = f"sqlite:///{new.as_posix()}"
            try:
                MlflowClient(address, address).search_experiments(max_results=1)
                new.replace(file)
            finally:
                new.unlink(missing_ok=True)

    def _error_message(self, error: Exception) -> str:
        """What is wrong with the store, and what to do about it."""
        again = "`python -m bike_demand train` registers a new version"
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            return f"does not exist in {self.where}: never created, or deleted; {again}"
        if type(error).__module__.startswith("alembic."):
            if "Can't locate revision" in str(error):  # has migrations, but not MLflow's
                return f"{self.where} belongs to another program; give MLflow a database of its own"
            return f"{self.where}: its tables are being created or upgraded; try again"
        message = " ".join(str(error).replace(self.uri, self.where).split())  # without a password
        if self._file and ("not a database" in message or "malformed" in message):
            return f"{self.where} is damaged; put a backup in its place, or move it away, then {again}"
        if self._file and (cause := explain_sqlite_error(message, self._file)) != message:
            return f"{self.where}: {cause}"
        return f"{message[:300].rstrip('. ')}; check {self.where} and {self._setting}"


def file_stamp(file: Path | None) -> tuple[int, int, int] | None:
    """Metadata of a file that change when it is written to or replaced; None if there is none."""
    try:
        stat = None if file is None else file.stat()
    except OSError:
        return None
    return None if stat is None else (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def relocate_artifacts(uri: str, folder: Path, *, shared: bool) -> None:
    """Point an experiment in the database at this address to `folder`, for existing and new files.

    `folder` is absolute and named after the experiment. `shared`: the database lies outside the project and
    may serve other projects, whose files stay where they are as long as they exist. Raises UserError if there
    are runs whose files were not moved along.
    """
    import sqlalchemy as sa

    here = folder.as_uri()
    experiments = sa.table("experiments", sa.column("name"), sa.column("artifact_location"))
    with sa.create_engine(uri, poolclass=sa.NullPool).begin() as connection:
        there = connection.scalar(
            sa.select(experiments.c.artifact_location).where(experiments.c.name == folder.name)
        )
        if there is None or there == here or not _is_alike(there, here):
            return
        old = Path(url2pathname(urlsplit(there).path))
        if shared and old.is_dir():
            return
        for name, address in _PATH_COLUMNS.items():
            column: sa.ColumnClause[str] = sa.column(address)
            below = sa.func.substr(column, 1, len(there)) == there
            moved = sa.literal(here) + sa.func.substr(column, len(there) + 1)
            changed = connection.execute(
                sa.update(sa.table(name, column)).where(below).values({address: moved})
            )
            if name == "runs" and changed.rowcount and not folder.is_dir():
                raise UserError(f"project moved without the files of its runs; copy {old} to {folder}")


def _is_alike(there: str, here: str) -> bool:
    """Whether both are the folder state/artifacts/NAME of this layout, in two places."""
    return there.startswith("file:") and there.split("/")[-3:] == here.split("/")[-3:]


def normalize_store_uri(uri: str, setting: str = URI_SETTING) -> str:
    """The address with an absolute SQLite path, because MLflow keeps one store per address.

    Raises UserError, naming its `setting`, if it is not the address of a store.
    """
    try:
        parts = urlsplit(uri)
        scheme, _port = parts.scheme.partition("+")[0], parts.port
    except ValueError as error:  # an invalid port, an unclosed bracket
        raise UserError(f"{setting} {uri.rpartition('@')[2]!r}: {error}; correct it") from None
    if scheme == "sqlite":
        return f"sqlite:///{Path(uri.partition(':///')[2]).absolute().as_posix()}"
    if scheme in ("http", "https", *DATABASES):
        return uri.rstrip("/")
    raise UserError(
        f"{setting} {uri!r}: not an address of a store; give sqlite:///FILE, postgresql://... or the http(s)"
        " address of an MLflow server"
    )


def is_database(uri: str) -> bool:
    """Whether the address is a database, not an MLflow server in front of one."""
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


def require_reachable(uri: str, setting: str = URI_SETTING) -> None:
    """Check within two seconds that something listens there; MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    port = parts.port or {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}.get(
        parts.scheme.partition("+")[0], 0
    )
    if not parts.hostname:
        return
    try:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise UnreachableError(
            f"{without_password(uri)}: the tracking store does not respond ({error}); start it, or give"
            f" another {setting}"
        ) from None


def without_password(uri: str) -> str:
    """The address without its password, for display."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

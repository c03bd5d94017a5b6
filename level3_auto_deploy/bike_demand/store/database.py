"""The database: a SQLite file or PostgreSQL, migrated on first use; transactions and locks."""

import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    Select,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.store.network_share import explain_sqlite_error
from bike_demand.store.tables import REVISION, Base

ADVICE = "give sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
CONNECT_SECONDS = 2
BUSY_SECONDS = 5.0  # how long to wait for another writer
MIGRATION_SECONDS = 20.0  # how long to wait for another process to apply the migrations
LOCK_POLL_SECONDS = 0.2

T = TypeVar("T")


class Database:
    """The database of one environment. Thread-safe; call `close` at the end.

    It is migrated before its first use, and again after an error: it may have been deleted and created anew.
    """

    def __init__(self, engine: Engine, where: str, *, is_migrated: bool = False) -> None:
        self.engine = engine
        self.where = where  # for messages, without a password
        self._is_migrated = is_migrated

    def migrate(self) -> None:
        """Apply missing migrations. Raises UserError if the schema is of a newer version."""
        if not self._is_migrated:
            _migrate(Database(self.engine, self.where, is_migrated=True))
            self._is_migrated = True

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A read transaction. Raises UnreachableError of one line if the database is down."""
        with self._reported(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self, *tables: type[Base]) -> Iterator[Session]:
        """A write transaction; its changes are durable when the block ends. Raises UnreachableError.

        `tables`: tables that are read before they are written; such transactions are serialized.
        """
        engine = self.engine.execution_options(writes=True)
        with self._reported(), Session(engine, expire_on_commit=False) as session, session.begin():
            if engine.dialect.name == "postgresql":  # SQLite serialises all writers, and limits their wait
                session.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS:g}s'"))
                for table in tables:
                    session.execute(text(f"LOCK TABLE {table.__tablename__} IN SHARE ROW EXCLUSIVE MODE"))
            yield session

    def all(self, rows: Select[tuple[T]]) -> list[T]:
        """The rows of a select statement, read in a transaction of its own."""
        with self.reading() as session:
            return list(session.scalars(rows))

    def one(self, value: Select[tuple[T]]) -> T | None:
        """The value that a select statement finds, read in a transaction of its own."""
        with self.reading() as session:
            return session.scalar(value)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        self.migrate()
        try:
            yield
        except (IntegrityError, DataError):  # the database is up, but the row is invalid
            raise
        except SQLAlchemyError as error:
            self._is_migrated = False
            message = one_line(error)
            if self.engine.dialect.name == "sqlite":
                message = explain_sqlite_error(message, Path(str(self.engine.url.database)))
            raise UnreachableError(f"{self.where}: {message}") from None


def open_database(address: str) -> Database:
    """Open the database at a SQLAlchemy address; creates a SQLite file if there is none.

    Raises UserError if the address is invalid, the database is down, or its schema is of a newer version.
    """
    database = database_at(address)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def database_at(address: str) -> Database:
    """Like `open_database`, but connects on first use. Raises UserError if the address is invalid."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # ValueError: a port that is not a number
        shown = address.rpartition("@")[2]  # without a password
        raise UserError(f"database {shown!r}: not an address; {ADVICE}") from None
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return _sqlite(Path(url.database).absolute())
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return _postgresql(address)
    raise UserError(f"database {url.render_as_string()!r}: not supported; {ADVICE}")


def database_exists(address: str) -> bool:
    """Whether there may be a database at an address; False for a SQLite file that does not exist yet."""
    return bool(address) and (
        not address.startswith("sqlite:") or Path(address.partition(":///")[2]).exists()
    )


class BusyError(UserError):
    """Another process holds a lock."""


@contextmanager
def lock(database: Database, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock `what` of this database inside the block. A killed process releases its locks.

    Raises BusyError if another process still holds it after `patience` seconds.
    """
    busy = BusyError(f"another {what} is running on {database.where}; try again when it is done")
    if database.engine.dialect.name == "sqlite":
        file = Path(str(database.engine.url.database))
        held = FileLock(file.with_name(f".{file.name}.{what}"))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=patience)
        except Timeout:
            raise busy from None
        except OSError as error:
            raise UserError(f"{file.parent}: {error.strerror}; give another database") from None
        try:
            yield
        finally:
            held.release()
        return
    number = zlib.crc32(f"bike_demand {what}".encode())  # key of a PostgreSQL advisory lock
    until = time.monotonic() + patience
    with ExitStack() as stack:
        with database._reported():
            engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
            connection = stack.enter_context(engine.connect())
            while not connection.scalar(select(func.pg_try_advisory_lock(number))):
                if time.monotonic() > until:
                    raise busy
                time.sleep(LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # the end of a lost session released it
                connection.execute(select(func.pg_advisory_unlock(number)))


def _sqlite(file: Path) -> Database:
    # A pooled connection would keep writing to a file that was deleted and created anew.
    engine = create_engine(
        f"sqlite:///{file.as_posix()}", poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # so that transactions begin explicitly, also for DDL
        connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not block each other
        connection.execute("PRAGMA synchronous=FULL")  # a commit is durable

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads before it writes would fail if another one wrote in between.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return Database(engine, str(file))


def _postgresql(address: str) -> Database:
    url = make_url(address).set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=2,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": 10_000,  # milliseconds, to detect a network that drops all packets
            "application_name": "bike-demand",
        },
    )
    return Database(engine, url.set(password=None).render_as_string())


def _migrate(database: Database) -> None:
    """Apply missing migrations once, however many processes start at the same time."""
    if _revision(database) == REVISION:
        return
    with lock(database, "migration", MIGRATION_SECONDS):
        if (found := _revision(database)) == REVISION:
            return
        if found is not None and (len(found) != len(REVISION) or found > REVISION):
            raise UserError(
                f"{database.where}: its schema is newer or another program's ({found}, this code knows"
                f" {REVISION}); install the newer version, or give a database of the application's own"
            )
        # Imported here: it takes longer than everything else, and is needed once in a database's life.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "bike_demand.store:migrations")
        config.set_main_option("path_separator", "os")
        with database.writing() as session:
            config.attributes["connection"] = session.connection()
            command.upgrade(config, "head")


def _revision(database: Database) -> str | None:
    """The last applied migration; None before the first."""
    name = database.engine.url.database
    if database.engine.dialect.name == "sqlite" and not Path(str(name)).exists():
        return None
    with database.reading() as session:
        if not database.engine.dialect.has_table(session.connection(), "alembic_version"):
            return None
        found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
        return found


def one_line(error: Exception) -> str:
    """The database's own error message, on one line."""
    message = getattr(error, "orig", None) or error
    return " ".join(str(message).split())[:300] or type(message).__name__

"""Where the files of the runs are: in a project that was moved or copied, the store is brought in line."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bike_demand.core.errors import UserError

# MLflow keeps absolute addresses, and has no call that changes one: https://github.com/mlflow/mlflow/issues/3144
_COLUMNS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def settle(uri: str, folder: Path, *, shared: bool) -> None:
    """Make the database at this address look for the files of an experiment, and put new ones, in `folder`.

    `folder` is absolute and has the experiment's name. `shared`: the database lies outside the project, so
    other projects may use it: their files stay where they are as long as they are there. Raises UserError
    where runs are on record, but their files did not move along.
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
        for name, address in _COLUMNS.items():
            column: sa.ColumnClause[str] = sa.column(address)
            below = sa.func.substr(column, 1, len(there)) == there
            moved = sa.literal(here) + sa.func.substr(column, len(there) + 1)
            changed = connection.execute(
                sa.update(sa.table(name, column)).where(below).values({address: moved})
            )
            if name == "runs" and changed.rowcount and not folder.is_dir():
                raise UserError(f"moved here without the files of its runs: copy {old} to {folder}")


def _is_alike(there: str, here: str) -> bool:
    """Whether both are folders of this layout, state/artifacts/NAME, in two places."""
    return there.startswith("file:") and there.split("/")[-3:] == here.split("/")[-3:]

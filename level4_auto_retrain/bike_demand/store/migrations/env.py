"""Alembic's environment: applies the migrations on a given connection, in one transaction."""

from alembic import context

from bike_demand.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()

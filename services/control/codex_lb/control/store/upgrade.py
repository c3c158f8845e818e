"""Runs the migrations that a database lacks. Apart from `migrate.py`, because Alembic is heavy and seldom needed."""

from __future__ import annotations

from importlib.resources import as_file, files

import sqlalchemy.exc
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from codex_lb.control.errors import MigrationError
from codex_lb.control.store import migrations


def upgrade(connection: Connection) -> None:
    """To the newest revision, inside the connection's transaction. Raises MigrationError."""
    with as_file(files(migrations)) as folder:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        try:
            command.upgrade(config, "head")
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise MigrationError(f"The database could not be migrated, and was left as it was: {error}") from error

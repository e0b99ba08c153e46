"""What Alembic runs: the revisions, on the connection and in the transaction that `bring_up` holds."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

connection: Connection = context.config.attributes["connection"]
# A connection that is already in a transaction is one that Alembic neither begins nor commits on.
connection.execute(text("SELECT 1"))
context.configure(connection=connection)
context.run_migrations()

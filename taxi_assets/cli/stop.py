"""`taxi stop`: stop the embedded Postgres server."""

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.options import load_settings


@click.command()
def stop() -> None:
    """Stop the Postgres server in TAXI_HOME.

    The server keeps running after the command that started it, so that the next command does not have to wait. A
    command that needs it starts it again. A server in TAXI_POSTGRES_URL is not affected.
    """
    with activity("Stopping Postgres"):
        from taxi_assets.stores.postgres.embedded import EmbeddedPostgres

        stopped = EmbeddedPostgres(load_settings().home / "postgres", None).stop()
    click.echo("Postgres is stopped" if stopped else "Postgres was not running")

"""`taxi stop`: the end of the server that comes along."""

import click

from taxi_assets.settings import Settings


@click.command()
def stop() -> None:
    """Stop the Postgres server of TAXI_HOME.

    It stays up after the command that started it, so that the next need not wait for it; the next command that needs it
    starts it again. A server of TAXI_POSTGRES_URL is left alone.
    """
    from taxi_assets.stores.embedded_postgres import EmbeddedPostgres

    stopped = EmbeddedPostgres(Settings.load().home / "postgres", None).stop()
    click.echo("Postgres is stopped" if stopped else "Postgres was not running")

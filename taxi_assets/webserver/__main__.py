"""The program `python -m taxi_assets.webserver`: Dagster's `dagster-webserver`, with its options, but protected.

`taxi dev` and the image of the deployment use it instead of `dagster-webserver`.
"""

import runpy
from typing import Any

import click
import dagster_webserver.app
from dagster_webserver.webserver import DagsterWebserver
from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse

from taxi_assets.errors import MutationByGet
from taxi_assets.settings import Settings
from taxi_assets.webserver.access import OwnRequests, own_names


class ProtectedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's webserver, which here refuses requests of other web pages and mutations by GET."""

    def build_middleware(self) -> list[Middleware]:
        """Return the middleware that refuses requests, followed by Dagster's middleware."""
        host, ui_url = click.get_current_context().params["host"], Settings.load().ui_url
        own_requests = Middleware(OwnRequests, names=own_names(host, ui_url), ui_url=ui_url)
        return [own_requests, *super().build_middleware()]

    def make_security_headers(self) -> dict[str, str]:
        """Return Dagster's headers, and one that prevents other websites from showing the UI in a frame."""
        return {**super().make_security_headers(), "X-Frame-Options": "SAMEORIGIN"}

    async def execute_graphql_request(
        self, request: Request, query: str, variables: dict[str, Any] | None, operation_name: str | None
    ) -> JSONResponse:
        """Execute a GraphQL document, unless it is a mutation by GET, such as the URL of an image in any web page."""
        if request.method == "GET" and _has_mutation(query):
            raise HTTPException(403, MutationByGet("This GET request contains a GraphQL mutation.").explain())
        return await super().execute_graphql_request(request, query, variables, operation_name)


def _has_mutation(query: str) -> bool:
    """Return whether a GraphQL document contains a mutation. Dagster reports a document that cannot be parsed."""
    try:
        definitions = parse(query).definitions
    except GraphQLError:
        return False
    return any(
        isinstance(definition, OperationDefinitionNode) and definition.operation is OperationType.MUTATION
        for definition in definitions
    )


if __name__ == "__main__":
    # Dagster has no option for another class.
    dagster_webserver.app.DagsterWebserver = ProtectedWebserver  # type: ignore[attr-defined]
    runpy.run_module("dagster_webserver", run_name="__main__", alter_sys=True)

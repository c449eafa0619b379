"""Names and links of what is in Google Cloud. Importing this module does not import Google's packages.

Not here: what is at these addresses (`gcs`, `bigquery`).
"""

import re

from taxi_assets.errors import InvalidWarehouseUrl


def dataset_of(url: str) -> tuple[str, str]:
    """Return the project and the dataset of `bigquery://project/dataset`. Raises InvalidWarehouseUrl."""
    found = re.fullmatch(r"bigquery://([\w.:-]+)/(\w+)/?", url, re.ASCII)
    if not found:
        raise InvalidWarehouseUrl(
            f'"{url}" is not the URL of a dataset. Expected bigquery://PROJECT/DATASET, with only letters, digits and '
            "underscores in the name of the dataset.",
            seen=url,
        )
    return found[1], found[2]


def table_link(project: str, dataset: str, table: str) -> str:
    """Return the Google Cloud console URL of a table."""
    place = f"!1m5!1m4!4m3!1s{project}!2s{dataset}!3s{table}"
    return f"https://console.cloud.google.com/bigquery?project={project}&ws={place}"


def object_link(uri: str) -> str:
    """Return the Google Cloud console URL of an object, given its `gs://` URI."""
    return f"https://console.cloud.google.com/storage/browser/_details/{uri.removeprefix('gs://')}"


def folder_link(uri: str) -> str:
    """Return the Google Cloud console URL of a folder of objects, given its `gs://` URI."""
    return f"https://console.cloud.google.com/storage/browser/{uri.removeprefix('gs://')}"

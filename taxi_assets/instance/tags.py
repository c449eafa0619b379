"""The tags that this project adds to runs, such as who requested a run and its result.

Not here: the tag with the process of a run (`processes`).
"""

COLOR_TAG = "taxi/color"

ASKED_BY_TAG = "taxi/asked_by"
"""Who requested a run: `schedule`, `cli`, or `dagster` for Dagster's UI and its commands."""

RESULT_TAG, NOT_PUBLISHED = "taxi/result", "not_published"
"""The result of a successful run that did not load its month."""

REVISION_TAG = "taxi/revision"
"""The revision of the image whose code server defined a run's job. It is not set in a single-machine installation."""


def color_result_tag(color: str) -> str:
    """Return the name of the result tag of one color, for runs that cover several colors.

    Such runs are started from the UI. The other colors may have been loaded.
    """
    return f"{RESULT_TAG}/{color}"

"""New York City taxi trips as Dagster assets for each color, partitioned by month.

`docs/architecture.md` describes the packages and the direction of their imports.
"""

import os

# Milliseconds after which Arrow's allocator returns freed memory to the system. By default, it keeps it so long that a
# step also occupies the memory of the step before it. The allocator reads this when pyarrow is imported.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "50")

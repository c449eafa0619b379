"""The command line: one file for each command, and its rendering next to it. `main` is the group.

Not here: the work itself (`operations`, `stores`).
"""

import gc

# Nearly all objects of a command are those of imported modules, which never become garbage. With Python's default, it
# searches them for garbage several times while it imports Dagster, which takes 0.1 s.
gc.set_threshold(200_000)

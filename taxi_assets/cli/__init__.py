"""The command line: one file for each command, and its rendering next to it. `main` is the group.

Not here: the work itself (`operations`, `stores`).
"""

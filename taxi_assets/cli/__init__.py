"""The command line: a file a command, with its view beside it where it has one; `main` is the group.

Not here: the work itself (`operations`, `stores`).
"""

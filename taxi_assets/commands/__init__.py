"""The commands of `taxi`, a file each: what people type becomes a few calls, and what these give is shown.

Not here: the work (`defs`, `stores`), and how things look (`console`).
"""

"""Charts of the trips: functions from data frames, with the columns of `tlc.marts`, to figures and images.

Not here: the figures that are drawn (`stores.mart_sql`), and where the images are shown (`defs`, `cli`).
"""

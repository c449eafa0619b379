"""New York taxi trips as Dagster assets, with one partition for each color and month.

`tlc` describes the data that the Taxi and Limousine Commission (TLC) publishes. `stores` reads from and writes to
external systems. `defs` contains the Dagster definitions. `operations` runs and manages partitions, and `cli` is the
command line. Imports run one way: `tlc` <- `stores` <- `defs` <- `definitions` <- `operations` <- `cli`.
"""

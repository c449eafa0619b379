"""New York's taxi trips as Dagster assets: one partition a color and a month.

`tlc` knows what the taxi commission publishes, `stores` knows the systems that months come from and go to, `defs` is
all that is Dagster. Imports run one way: `tlc` <- `stores` <- `defs` <- `definitions` and `cli`.
"""

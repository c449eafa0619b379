"""What the taxi commission (TLC) publishes, and what a good month of it looks like.

Here: names of months, columns of colors, cleaning, the passenger rules, made-up months.
Not here: Dagster, the network, databases, settings.
"""

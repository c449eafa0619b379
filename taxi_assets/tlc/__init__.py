"""The data that the Taxi and Limousine Commission (TLC) publishes, and the rules for a valid month.

Here: month names, the columns of each color, cleaning, passenger rules, quality rules, sample data.
Not here: Dagster, the network, databases, settings.
"""

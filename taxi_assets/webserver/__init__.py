"""Dagster's webserver with protection against other web pages in the user's browser.

Not here: Dagster's daemon and code server, which are unchanged.
"""

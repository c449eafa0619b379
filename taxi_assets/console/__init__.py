"""What people see: bars and tables on a terminal, plain lines in a pipe.

Not here: doing any work, or knowing Dagster.
"""

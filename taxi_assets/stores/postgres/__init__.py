"""PostgreSQL: the tables of trips, and the embedded server for users without a server of their own."""

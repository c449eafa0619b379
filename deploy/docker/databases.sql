-- Postgres runs this script at its first start, when it also creates the database ny_taxi. This one is for Dagster's history.
CREATE DATABASE dagster;

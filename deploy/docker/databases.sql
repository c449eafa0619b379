-- Run by Postgres at its first start, beside making the database of the trips: one for Dagster's history.
CREATE DATABASE dagster;

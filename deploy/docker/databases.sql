-- Postgres runs this script as a superuser at its first start. The user taxi owns the trips and Dagster's history, but is not
-- a superuser.
\getenv password POSTGRES_PASSWORD
CREATE ROLE taxi LOGIN PASSWORD :'password';
CREATE DATABASE ny_taxi OWNER taxi;
CREATE DATABASE dagster OWNER taxi;

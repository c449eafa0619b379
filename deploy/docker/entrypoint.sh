#!/bin/sh
# Dagster's instance is in TAXI_HOME/dagster, as on one machine, so that `taxi` and Dagster mean the same one. Its file is
# this image's: a new image brings its own to an old volume. A file that somebody put there instead is left alone.
set -eu
config=$DAGSTER_HOME/dagster.yaml
if [ ! -e "$config" ]; then
    mkdir -p "$DAGSTER_HOME"
    ln -sf /opt/taxi/dagster.yaml "$config"
fi
exec "$@"

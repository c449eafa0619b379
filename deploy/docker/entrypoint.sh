#!/bin/sh
# As on a single machine, the Dagster instance is in TAXI_HOME/dagster, so `taxi` and Dagster use the same one. Its
# dagster.yaml is a link to the image's file, so a new image also updates an old volume. A real file is not replaced.
set -eu
config=$DAGSTER_HOME/dagster.yaml
if [ ! -e "$config" ]; then
    mkdir -p "$DAGSTER_HOME"
    ln -sf /opt/taxi/dagster.yaml "$config"
fi
exec "$@"

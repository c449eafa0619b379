# One image for the code server, the webserver, the daemon, the clean-up and every run.
# The layers that change least come first: the packages, then the code.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
WORKDIR /src
RUN python -m venv --without-pip /opt/taxi/venv
COPY deploy/docker/requirements.txt .
# Delete files that are not needed at run time: tests, C++ headers, and the descriptions of all Google APIs.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/taxi/venv/bin/python install --no-deps --requirement requirements.txt \
 && cd /opt/taxi/venv/lib/python3*/site-packages \
 && rm -rf googleapiclient/discovery_cache/documents pyarrow/include pyarrow/tests pandas/tests \
 && find numpy sqlalchemy -type d -name tests -prune -exec rm -rf {} +

FROM ${BASE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY taxi_assets taxi_assets
RUN --mount=type=cache,target=/root/.cache/pip python -m pip wheel --no-deps --wheel-dir /wheel .

FROM ${BASE}
# A numeric user ID lets Kubernetes verify that the user is not root. A new volume takes its owner from /taxi_home.
RUN groupadd --gid 1000 taxi && useradd --uid 1000 --gid taxi --home-dir /taxi_home --no-create-home taxi \
 && install --directory --owner taxi --group taxi /taxi_home
COPY --from=packages /opt/taxi/venv /opt/taxi/venv
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    python -m pip --python /opt/taxi/venv/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl
COPY deploy/docker/dagster.yaml deploy/docker/workspace.yaml deploy/docker/clean_up.py deploy/docker/is_serving.py /opt/taxi/
COPY --chmod=755 deploy/docker/entrypoint.sh /opt/taxi/
COPY --chmod=755 deploy/docker/dagster-webserver /opt/taxi/venv/bin/

# The root file system can be read-only: the programs write only to TAXI_HOME and /tmp.
ENV PATH=/opt/taxi/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TAXI_HOME=/taxi_home \
    DAGSTER_HOME=/taxi_home/dagster
ARG REVISION=unknown
ENV TAXI_REVISION=$REVISION
LABEL org.opencontainers.image.title="taxi-assets" org.opencontainers.image.revision=$REVISION

WORKDIR /taxi_home
VOLUME /taxi_home
USER 1000:1000
EXPOSE 4000
ENTRYPOINT ["/opt/taxi/entrypoint.sh"]
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "taxi_assets.definitions", "--location-name", "taxi_assets.definitions"]
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["python", "/opt/taxi/is_serving.py"]

# One image for the operator, the workers and the scheduler:
#
#     python -m longshore_operator        the operator
#     longshore worker MODULE:APP         a worker, in an image that adds the app: FROM this one
#     longshore scheduler                 the scheduler
#
# Any base with Python 3.11 or later, its venv module and a shell will do.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/longshore
COPY requirements/lock.txt /src/requirements/lock.txt
# The two secrets are optional: a pip.conf, and the certificates that it names, of the machine that builds.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/longshore/bin/pip install --require-hashes -r /src/requirements/lock.txt
COPY pyproject.toml README.md LICENSE /src/
COPY worker /src/worker
COPY operator /src/operator
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/longshore/bin/pip wheel --no-deps --wheel-dir /src/dist /src \
    && /opt/longshore/bin/pip install --no-deps --no-index /src/dist/longshore-*.whl \
    && /opt/longshore/bin/pip uninstall --yes pip setuptools

FROM ${BASE_IMAGE}
# A name for the number: Python asks for the current user's.
RUN echo 'longshore:x:65532:' >> /etc/group \
    && echo 'longshore:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
COPY --from=build /opt/longshore /opt/longshore
ENV PATH=/opt/longshore/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 65532:65532
ENTRYPOINT []
CMD ["longshore", "--help"]

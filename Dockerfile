# One image for the operator, the workers and the scheduler:
#
#     python -m longshore_operator        the operator
#     longshore worker MODULE:APP         a worker, in an image that adds the app: FROM this one
#     longshore scheduler                 the scheduler
#
# Any base with Python 3.11 or later, its venv module and a shell will do.
ARG BASE_IMAGE=python:3.12-slim

# The dependencies, as pinned. pip stays outside the environment that it fills.
FROM ${BASE_IMAGE} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/longshore
COPY requirements/lock.txt /src/requirements/lock.txt
# The two secrets are optional: a pip.conf, and the certificates that it names, of the machine that builds.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip --python /opt/longshore/bin/python install --require-hashes -r /src/requirements/lock.txt

# The project, apart from its dependencies: a change of it makes one small new layer.
FROM dependencies AS package
COPY requirements/build.txt /src/requirements/build.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip install --require-hashes -r /src/requirements/build.txt
COPY pyproject.toml README.md LICENSE /src/
COPY worker /src/worker
COPY operator /src/operator
COPY crds /src/crds
RUN /opt/pip/bin/pip wheel --no-index --no-build-isolation --no-deps --wheel-dir /src/dist /src \
    && /opt/pip/bin/pip --python /opt/longshore/bin/python install --no-deps --no-index --root /package /src/dist/*.whl

FROM ${BASE_IMAGE}
# A name for the number: Python asks for the current user's.
RUN echo 'longshore:x:65532:' >> /etc/group \
    && echo 'longshore:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
COPY --from=dependencies /opt/longshore /opt/longshore
COPY --from=package /package/opt/longshore /opt/longshore
ENV PATH=/opt/longshore/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 65532:65532
ENTRYPOINT []
CMD ["longshore", "--help"]

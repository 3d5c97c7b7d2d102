# kms as an image:
#
#   docker build --tag kafka-message-scheduler .
#
# The base is pinned to a patch level here. To pin it to the byte as well, ask for the digest of that
# tag, `docker buildx imagetools inspect python:3.13.11-slim-trixie`, and put it behind the tag in the
# next line, as `python:3.13.11-slim-trixie@sha256:...`; or give that with `--build-arg PYTHON=`.
ARG PYTHON=python:3.13.11-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /opt/kms
# Before the code, which changes more often. Nothing is built here, and nothing is installed whose
# hash is not in the lock file. The environment has no pip, as the image has no need of one.
COPY config/requirements.lock /tmp/
RUN python -m venv --without-pip .venv \
    && pip --python .venv install --no-cache-dir --disable-pip-version-check \
        --root-user-action=ignore --only-binary=:all: --require-hashes \
        --requirement /tmp/requirements.lock
COPY LICENSE kms.py ./
COPY kms kms
# Here, because kms itself can't write to its own folder. By hash: whatever a copy does to the times.
RUN .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash kms .venv/lib

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Kafka Message Scheduler" \
      org.opencontainers.image.description="Sends a message to a Kafka topic later, once, and on time." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="BSD-3-Clause"
WORKDIR /opt/kms
# A fixed id, so that a volume's owner is the same on every host. The cache holds messages.
RUN groupadd --gid 10001 kms \
    && useradd --uid 10001 --gid kms --no-create-home --home-dir /var/lib/kms \
        --shell /usr/sbin/nologin kms \
    && install --directory --owner=kms --group=kms --mode=0700 /var/lib/kms
COPY --from=build /opt/kms /opt/kms

ENV PATH=/opt/kms/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    KMS_CACHE=/var/lib/kms/kms.sqlite \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/kms
# By number: Kubernetes can tell then that it is not root.
USER 10001:10001
EXPOSE 9095

# Without the proxy that HTTP_PROXY may name. Live, not ready: that Kafka is out of reach, or a long
# catch-up, is no reason to be started again.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; port = os.environ.get('PROMETHEUS_SCRAPING_ENDPOINT_PORT') or '9095'; u.build_opener(u.ProxyHandler({})).open(f'http://127.0.0.1:{port}/health/live', timeout=5)"]

# In exec form, so that SIGTERM reaches Python and not a shell. kms is PID 1 then, and needs no init:
# it handles the signal from its first line on, and starts no processes.
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "kms.py"]
CMD ["run"]

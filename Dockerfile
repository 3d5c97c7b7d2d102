FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="Kafka Message Scheduler" \
      org.opencontainers.image.licenses="BSD-3-Clause"

WORKDIR /opt/kms

# A fixed id, so that a volume's owner is the same on every host. The cache holds messages.
RUN groupadd --gid 10001 kms \
    && useradd --uid 10001 --gid kms --no-create-home --home-dir /var/lib/kms \
        --shell /usr/sbin/nologin kms \
    && install --directory --owner=kms --group=kms --mode=0700 /var/lib/kms

# Before the code, which changes more often.
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --requirement requirements.txt

COPY LICENSE kms.py ./
COPY kms kms
# Here, because kms itself can't write to its own folder.
RUN python -m compileall -q kms

ENV KMS_CACHE=/var/lib/kms/kms.sqlite \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/kms
USER 10001:10001
EXPOSE 9095

# Without the proxy that HTTP_PROXY may name.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; port = os.environ.get('PROMETHEUS_SCRAPING_ENDPOINT_PORT') or '9095'; u.build_opener(u.ProxyHandler({})).open(f'http://127.0.0.1:{port}/metrics', timeout=5)"]

# In exec form, so that SIGTERM reaches Python and not a shell.
ENTRYPOINT ["python", "kms.py"]
CMD ["run"]

# Two stages: the first one installs, the second holds only Python and what was installed.
FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

RUN python -m venv --without-pip /opt/spanledger

# The dependencies come first: their layer is made again only when the lock changes. Tests and C headers, 25 MB, are of no
# use to a server.
COPY requirements.lock ./
RUN pip --python /opt/spanledger/bin/python install --require-hashes --no-deps --only-binary=:all: -r requirements.lock \
    && find /opt/spanledger -type d \( -name tests -o -path '*/pyarrow/include' \) -prune -exec rm -rf {} +

# The build backend is a development dependency; its pin and hashes are taken from that lock, so that nothing at all is
# installed unchecked.
COPY requirements-dev.lock ./
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.lock > backend.lock \
    && pip install --require-hashes --no-deps -r backend.lock

COPY pyproject.toml README.md LICENSE ./
COPY access ./access
COPY collector ./collector
COPY query ./query
COPY spanledger ./spanledger
COPY store ./store
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/spanledger/bin/python install --no-deps --no-index dist/*.whl


FROM python:3.13-slim-bookworm
COPY --from=build /opt/spanledger /opt/spanledger
RUN install --directory --owner=10001 --group=10001 --mode=0750 /data
# SPANLEDGER_DATA also lets `docker compose exec spanledger spanledger runs` find the running server.
ENV PATH=/opt/spanledger/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp SPANLEDGER_DATA=/data
USER 10001:10001
VOLUME /data
EXPOSE 4317 4318 8321
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8321/healthz', timeout=2)"]
ENTRYPOINT ["spanledger"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data"]

# graphcap bridge, one process on port 32100. It writes no files: run it with a read-only root file system and a
# read-only workspace (providers.toml, perspectives, images):
#   docker build -t graphcap-bridge .
#   docker run --read-only --cap-drop ALL -p 32100:32100 -v "$PWD/workspace:/workspace:ro" graphcap-bridge

FROM python:3.12-slim AS build

ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never

WORKDIR /build

COPY .ci/uv.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement uv.txt

# Dependencies in a layer of their own, which changes only with the lock file. The extras redis and otel are included;
# heif is not, because its decoder is a security risk.
COPY pyproject.toml requirements.lock ./
RUN uv venv /opt/graphcap \
 && uv pip install --python /opt/graphcap/bin/python --require-hashes \
      --requirement pyproject.toml --extra redis --extra otel --constraint requirements.lock

COPY LICENSE README.md ./
COPY clients/javascript/bridge.js clients/javascript/
COPY bridge/ bridge/
COPY perspectives/ perspectives/
COPY providers/ providers/
RUN uv pip install --python /opt/graphcap/bin/python --no-deps --build-constraint requirements.lock .


FROM python:3.12-slim

LABEL org.opencontainers.image.title="graphcap bridge" \
      org.opencontainers.image.description="One image, one perspective, one vision model: one caption that fits the schema." \
      org.opencontainers.image.licenses="Apache-2.0"

# Two arenas instead of eight per core: glibc keeps freed memory in each of them.
ENV PATH="/opt/graphcap/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    GRAPHCAP_HOST=0.0.0.0 \
    GRAPHCAP_PORT=32100 \
    GRAPHCAP_WORKSPACE=/workspace

COPY --from=build /opt/graphcap /opt/graphcap

VOLUME ["/workspace"]
EXPOSE 32100
USER 10001:10001

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["graphcap", "healthcheck"]

CMD ["graphcap", "serve"]

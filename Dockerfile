# The image of a machine: s6, git, rsync, node with pnpm, Python with uv, and a refreshd of its own in /opt/refreshd,
# which runs where the checkout holds none and lends its packages where the checkout's has no .venv.
#
#   docker build --build-arg ITERATE_GIT_SHA="$(git rev-parse HEAD)" --tag refreshd .
#
# Builds with the legacy builder too: no mounts, no here-documents.

FROM debian:trixie-slim AS tools

# Debian's npm brings 365 packages; the one it installs here brings none.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates npm python3 python3-venv \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

ARG NPM_VERSION=11
ARG PNPM_VERSION=12
RUN npm install --global --prefix /opt/node --no-audit --no-fund "npm@$NPM_VERSION" "pnpm@$PNPM_VERSION"

ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv==$UV_VERSION"


FROM tools AS baseline

ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/refreshd/.venv \
    UV_PYTHON_DOWNLOADS=never

WORKDIR /src
# the packages first: they change less often than the code
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-project
COPY . .
# the lock file that uv leaves can be written by everybody
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-editable && rm -f /opt/refreshd/.venv/.lock


FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates curl execline git nodejs openssh-client python3 python3-venv rsync s6 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

# an id may be taken: on some hosts the user's own is one of Debian's
ARG UID=1000
ARG GID=1000
# runs the daemon where MACHINE_DAEMON_USER=refreshd says so
ARG DAEMON_UID=990
RUN groupadd --non-unique --gid "$GID" iterate \
    && useradd --non-unique --uid "$UID" --gid "$GID" --create-home --shell /bin/bash iterate \
    && useradd --system --uid "$DAEMON_UID" --user-group --groups iterate --home-dir /var/lib/refreshd \
        --no-create-home refreshd \
    && install --directory --owner iterate --group iterate \
        /home/iterate/repo /var/lib/refreshd /run/refreshd /var/log/refreshd

COPY --from=tools /opt/node/ /usr/local/
COPY --from=tools /opt/uv/bin/uv /opt/uv/bin/uvx /usr/local/bin/
COPY --from=baseline /opt/refreshd/ /opt/refreshd/
COPY s6-overlay/ /
COPY entry.sh /usr/local/bin/refreshd-entry
# modes are those of the host that builds, which may have lost or widened them
RUN chmod -R u=rwX,go=rX /etc/s6-overlay /usr/libexec/refreshd \
    && chmod 755 /usr/local/bin/refreshd-entry /usr/libexec/refreshd/* /etc/s6-overlay/s6-rc.d/*/run \
        /etc/s6-overlay/s6-rc.d/*/finish \
    && ln -s /opt/refreshd/.venv/bin/refreshd /usr/local/bin/refreshd

ENV LANG=C.UTF-8 \
    ITERATE_REPO=/home/iterate/repo \
    REFRESHD_LISTEN=0.0.0.0:3000
EXPOSE 3000
USER iterate
WORKDIR /home/iterate
ENTRYPOINT ["/usr/local/bin/refreshd-entry"]
# the first sync of a cold machine may fetch and install everything
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD curl --fail --silent --show-error --max-time 4 --output /dev/null \
        --unix-socket "${REFRESHD_SOCKET:-${REFRESHD_RUN_DIR:-/run/refreshd}/refreshd.sock}" http://localhost/healthz

# last, because it is another one for each commit
ARG ITERATE_GIT_SHA=
ENV ITERATE_GIT_SHA=$ITERATE_GIT_SHA
LABEL org.opencontainers.image.title=refreshd \
    org.opencontainers.image.description="A sandbox machine that keeps its code fresh." \
    org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.revision=$ITERATE_GIT_SHA

# jarvis-secretsd in a container; docs/containers.md says how to run it, and what each way gives.
#
#   docker build --tag jarvis-secretsd .
#
# BASE is any image of Debian with Python 3.11 or newer and its venv; UID and GID are who it runs as.
ARG BASE=python:3.13-slim

FROM ${BASE} AS built
# pip's own settings, for a mirror or a directory of wheels
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY jarvis_secretsd jarvis_secretsd
RUN python3 -m venv /opt/jarvis-secretsd \
 && /opt/jarvis-secretsd/bin/pip install --no-cache-dir . 'psycopg[binary]>=3.1' \
 && /opt/jarvis-secretsd/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
# curl is for health checks over TCP
RUN command -v curl >/dev/null || { \
      apt-get update \
   && apt-get install --yes --no-install-recommends curl \
   && rm -rf /var/lib/apt/lists/*; }
COPY --from=built /opt/jarvis-secretsd /opt/jarvis-secretsd
RUN ln -s /opt/jarvis-secretsd/bin/*jarvis* /usr/local/bin/
ARG UID=1000
ARG GID=1000
# a new volume takes its owner from the directory that it covers
RUN install -d -o ${UID} -g ${GID} -m 0755 /run/jarvis \
 && install -d -o ${UID} -g ${GID} -m 0700 /opt/jarvis/secrets /opt/jarvis/audit /var/lib/jarvis-secretsd
USER ${UID}:${GID}
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["jarvis-secrets", "health"]
ENTRYPOINT ["jarvis-secretsd"]

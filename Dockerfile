# One image for both commands: `envproxy serve` unless told otherwise, `envagent serve` on nodes.
#
#     docker build -t envmesh .
#     docker run -p 8417:8417 -v envmesh:/var/lib/envmesh envmesh
#
# The bases are tags: whoever wants the same bytes for ever names a digest with --build-arg PYTHON=python@sha256:...
# Everything above the base comes from hashed locks (deploy/image).
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY proxy proxy
COPY agent agent
COPY deploy/image deploy/image
RUN python -m venv /opt/envmesh && sh deploy/image/install.sh /opt/envmesh

FROM ${PYTHON}
LABEL org.opencontainers.image.title="envmesh" \
      org.opencontainers.image.description="A verified, distributed cache for Python environments" \
      org.opencontainers.image.licenses="Apache-2.0"
# By number, so that Kubernetes can see that it is not root. The volume takes its owner from the directory.
RUN groupadd --gid 10001 envmesh \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin envmesh \
 && install --directory --owner 10001 --group 10001 /var/lib/envmesh
COPY --from=build /opt/envmesh /opt/envmesh
ENV PATH=/opt/envmesh/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
VOLUME /var/lib/envmesh
EXPOSE 8417 8418
STOPSIGNAL SIGTERM
CMD ["envproxy", "serve", "--listen", "0.0.0.0:8417", "--data", "/var/lib/envmesh"]

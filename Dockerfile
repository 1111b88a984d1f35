# calogen with the CUDA build of TensorFlow. It needs no write access but to the folder it works in, and no root:
#
#   docker build -t calogen .                              (podman build as well; for CPUs: --build-arg EXTRAS=cluster,export,geant4)
#   docker run --rm --gpus all --read-only --tmpfs /tmp -u "$(id -u):$(id -g)" -v "$PWD:/work" \
#       calogen train atlas-vae --output runs/mine
#   docker run ... --entrypoint python calogen /opt/calogen/experiments/atlas_vae.py --preset paper
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG EXTRAS=cluster,export,geant4,gpu
COPY setup.cfg pyproject.toml README.md LICENSE /source/
COPY calogen /source/calogen
COPY experiments /source/experiments
RUN python3 -m venv /opt/calogen && /opt/calogen/bin/pip install --no-cache-dir "/source[$EXTRAS]" \
    && cp -r /source/experiments /opt/calogen/experiments

FROM ${BASE}
COPY --from=build /opt/calogen /opt/calogen
# a home that everybody may write, if anybody may
ENV PATH=/opt/calogen/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
WORKDIR /work
ENTRYPOINT ["calogen"]

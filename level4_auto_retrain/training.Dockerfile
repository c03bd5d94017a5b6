# For training, and for the servers next to the service: the training tools, git, and this project with its history.
# Build:  docker build --file training.Dockerfile --tag bike-demand-training .
# Build it from a clean checkout: a training records the commit that made a model, and refuses uncommitted changes.

FROM python:3.13-slim-bookworm
# hadolint ignore=DL3008 # Debian keeps one version of a package; each fix replaces it
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && pip install --no-cache-dir uv==0.13.9 \
 && useradd --system --uid 10001 --create-home training
WORKDIR /app
COPY pyproject.toml requirements.lock ./
# At the locked versions and hashes, and before the code, as for the service. antlr4 has no wheel.
RUN uv venv /opt/venv \
 && uv pip install --python /opt/venv --requirements pyproject.toml --extra training \
    --constraints requirements.lock --only-binary :all: --no-binary antlr4-python3-runtime --compile-bytecode
COPY --chown=10001 . .
RUN install --directory --owner=10001 /app state
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001

"""The environment variables by which the server tells its worker processes what they need."""

ENVIRONMENT = "BIKE_ENVIRONMENT"  # which environment they serve
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where several of them add up what they count

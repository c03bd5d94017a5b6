"""The MLflow client: runs, registered versions, aliases."""

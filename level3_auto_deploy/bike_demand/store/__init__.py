"""Stores besides the data: runs, models and aliases in MLflow, and the production database."""

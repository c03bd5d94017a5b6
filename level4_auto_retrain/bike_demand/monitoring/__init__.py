"""Monitoring of production: daily errors, data quality, expected ranges, drift, and signals from them."""

"""How production is doing: errors by day, data quality, what is normal, drift, and what follows from it."""

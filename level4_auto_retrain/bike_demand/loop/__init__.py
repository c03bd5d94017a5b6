"""The loop: evaluates the signals of production and responds: trains, deploys, rolls back, alerts."""

"""The A/B test of a challenger against the champion: evidence, statistics, decision, and the commands."""

"""The A/B test of a challenger against the champion: what is known, what follows from it, and doing so."""

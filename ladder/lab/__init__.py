"""The workshop's labs: exercises as data (`labs/*.yaml`), each with a working copy, steps and a check."""

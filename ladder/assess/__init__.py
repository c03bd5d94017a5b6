"""`ladder assess`: where a project stands in the maturity model, judged by its files and people's answers.

Readers (`tree`, `yaml`, `python`, `automation`) extract facts; `rules.yaml` and `tools.yaml` define what they
are evidence of; `judge` derives rows and levels; `backlog` derives the next steps; `report` presents them.
"""

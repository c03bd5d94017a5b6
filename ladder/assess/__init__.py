"""`ladder assess`: where a project stands in the maturity model, from what its files show and people answer.

Reading (`tree`, `yaml`, `python`, `automation`) makes facts; `rules.yaml` and `tools.yaml` say what they are
evidence of; `judge` makes rows and levels of that; `backlog` says what comes next; `report` shows it.
"""

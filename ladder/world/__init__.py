"""The world that the levels live in: the operator's feed, its simulator, its faults and real data."""

from ladder import ROOT

COMMITTED_FEED = ROOT / "data" / "feed"
SCENARIOS = ROOT / "data" / "scenarios"

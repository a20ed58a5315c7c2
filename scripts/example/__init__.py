"""The example report's numbers, computed from its runs.csv without anything of the harness."""

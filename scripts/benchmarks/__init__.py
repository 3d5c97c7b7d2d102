"""What ``scripts/bench`` measures, and the bare loops it measures beside it."""

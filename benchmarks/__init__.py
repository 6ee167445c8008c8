"""Benchmarks: scenes, rival implementations and the programs that time them side by side. Not part of the package."""

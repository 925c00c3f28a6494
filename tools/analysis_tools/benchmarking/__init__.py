"""The parts of tools/analysis_tools/benchmark.py."""

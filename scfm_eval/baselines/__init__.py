"""Baselines that a foundation model has to beat, and controls whose result is known beforehand."""

"""Datasets: declarations that load into one validated form, and the views that models are given."""

"""The suite's plugin and fixtures, for `pytest benchmarks` and `pytest tests` alike."""

pytest_plugins = (
    "scfm_eval.plugin",
    "scfm_eval.reporting",
    "fixtures.baselines",
    "fixtures.datasets",
    "fixtures.models",
    "fixtures.results",
)

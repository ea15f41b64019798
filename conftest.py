"""The suite's plugin and fixtures, for `pytest benchmarks` and `pytest tests` alike."""

pytest_plugins = (
    "scfm_eval.reporting",
    "scfm_eval.plugin",
    "fixtures.baselines",
    "fixtures.datasets",
    "fixtures.models",
    "fixtures.results",
)

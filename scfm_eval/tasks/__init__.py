"""Tasks: what is asked of a model on a dataset, and how the answer is scored."""

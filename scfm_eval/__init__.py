"""Is a single-cell foundation model better than the simple things, by how much, how surely, at what cost."""

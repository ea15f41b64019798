"""Published numbers beside those of this suite."""

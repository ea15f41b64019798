"""Pretraining of small foundation models from a file of raw counts: ``python -m scfm_eval.pretrain``."""

"""Examination: how likely a shown rank was looked at, learnt from clicks. One estimator a file."""

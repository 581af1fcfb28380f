"""Losses over lists of candidates, one a file. Scores come as (lists, candidates)."""

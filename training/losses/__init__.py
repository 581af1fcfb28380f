"""Losses over lists of candidates, one a file.

A batch is flat, because lists differ in length: `scores` (pairs,) and `groups` (pairs,) int64, the
list of each pair. Lists are numbered from 0, pairs may stand in any order, a number may be missing.
With them come, a value for each pair, `grades` (>= 0, higher is better, as many relevant ones as
there are) or a `teacher`'s scores, and `weights` (>= 0; None: all 1).

Every loss is a mean over the lists (of InfoNCE and cross-entropy: the pairs) that say something,
and linear in the weights: twice the weight is twice the gradient, and a weight of 0 is none, but
the count that is divided by stays. Sums are taken in float32 at least, so call them outside of
autocast. None uses a sigmoid twice: scores are logits everywhere.
"""

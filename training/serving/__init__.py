"""The sidecar as training meets it: a client of one that runs, and one of training's own."""

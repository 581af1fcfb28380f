"""`sidecar-train doctor`: what would stop a run, said before it begins."""

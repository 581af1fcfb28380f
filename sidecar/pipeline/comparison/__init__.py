"""How a canary compares with production, by bounds that hold at every look."""

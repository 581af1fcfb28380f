"""Hard negatives: what recall ranks high and users, judges and a teacher do not."""

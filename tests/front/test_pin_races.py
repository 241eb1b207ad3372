"""Two pins at the same time: exactly one wins."""

"""Data cards: what a data set is, where it comes from, whether it is there and intact."""

"""Data that the package makes itself: rendered pages with words that are known exactly."""

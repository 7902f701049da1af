"""Scores of results against targets, and the catalog that says how each is computed."""

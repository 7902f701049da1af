"""Reading, resizing and sampling of data; models and metrics are elsewhere."""

"""One package per paper; each holds its configuration and one module per workflow stage."""

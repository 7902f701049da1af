"""One training loop that can be interrupted at any moment, its state and its curves."""

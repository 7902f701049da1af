"""Quantizers of weights and activations, layers made of them, and the noise that stands in."""

"""Diffusion: noise schedules, objectives, and sampling through the schedulers of diffusers."""

"""Differentiable architecture search: decisions, relaxations, penalties, the alternating step."""

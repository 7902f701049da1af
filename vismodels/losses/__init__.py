"""Losses that more than one method could use, as functions of tensors."""

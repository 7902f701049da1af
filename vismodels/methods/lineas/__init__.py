"""LinEAS: activations of a text-to-image pipeline steered by affine maps learnt end to end."""

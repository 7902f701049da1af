"""What a network costs: parameters, multiplications, activations, bit operations, time."""

"""Small super-resolution networks on photographs: the complete example every method follows."""

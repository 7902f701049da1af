"""What a network looked at: class activation maps, scaled and brought to the input's grid."""

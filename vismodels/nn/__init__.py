"""Building blocks of networks and the networks more than one method uses."""

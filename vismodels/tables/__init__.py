"""Tables: a layout and stored scores make one table object; one renderer for each format."""

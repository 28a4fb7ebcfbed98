"""Documentation, and the generator of the parts of it that come from the code."""

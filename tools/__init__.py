"""What makes parts of the documentation: `tools.pages` from the code, `tools.screens` from a terminal."""

"""The documentation: its generated parts are new, and it builds as a site."""

"""The command line, as a user meets it: mostly the real command in a process of its own."""

"""What an earlier version has written into stores is gone on with by this one."""

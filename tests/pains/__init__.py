"""What breaks in this field, a file a kind of trouble, each made to happen on real servers."""

"""What each peer library is expected to get, one file a library."""

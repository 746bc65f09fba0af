"""The certified cases, one JSON file each."""

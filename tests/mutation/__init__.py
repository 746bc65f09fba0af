"""How many planted faults of the mathematical modules the tests notice."""

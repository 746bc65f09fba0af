"""The conformance kit: certified cases, comparison, diagnosis, adapters and reports."""

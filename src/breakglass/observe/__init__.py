"""Reading: remote output to frozen facts. The parsers are pure and stand beside the readers."""

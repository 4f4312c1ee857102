"""What ./setup/bench measures: see README.md."""

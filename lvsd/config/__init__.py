"""The configuration: TOML in, a validated model out, every error at once."""

"""Configured providers: `providers.toml`, and the environment variables of model servers."""

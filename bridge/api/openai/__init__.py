"""OpenAI's Chat Completions API. A chat request returns a caption. A model's name selects a perspective."""

"""OpenAI's Chat Completions API: chat requests become captions, perspectives are models."""

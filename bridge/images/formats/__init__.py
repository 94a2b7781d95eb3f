"""The three formats that may pass through undecoded: their headers, and their metadata removed without loss."""

"""One file a format: `header` reads its shape without decoding, `strip` drops its metadata losslessly."""

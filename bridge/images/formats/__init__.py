"""The three formats that may pass through without decoding: read the header, and drop the metadata losslessly."""

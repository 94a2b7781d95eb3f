"""Read the headers of the three formats that may be passed on without decoding, and drop their metadata losslessly."""

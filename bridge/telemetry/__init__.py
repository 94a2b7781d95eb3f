"""The log, the metrics and the traces of the service."""

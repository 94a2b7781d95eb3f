"""Measure the times and sizes that have targets: `python -m benchmarks NAME …`, or `make bench` for all.

CPU times are valid on a busy machine too, wall times only on an idle one. Everything runs on loopback.
"""

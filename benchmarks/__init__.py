"""What the bridge promises in seconds and bytes, measured. `python -m benchmarks NAME …`, or `make bench` for all.

Wall times hold for an idle machine; CPU times also for a busy one. Everything stays on loopback.
"""

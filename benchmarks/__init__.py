"""The project's benchmarks: ``python -m benchmarks`` measures recambio beside its peers."""

"""Where cells run: this process with all its ranks (`tlbench.runner.run_here`), or worker processes."""

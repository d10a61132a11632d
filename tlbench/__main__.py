"""Run the command line with `python -m tlbench`, as torchrun and accelerate launch do."""

from tlbench.cli import main

if __name__ == "__main__":
    main()

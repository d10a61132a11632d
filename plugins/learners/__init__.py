"""The learners of `linear`, kept apart because they import numpy, which listing strategies need not."""

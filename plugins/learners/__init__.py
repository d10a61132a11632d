"""The learners of strategies that train no network, kept apart because they import numpy, which listing need not."""

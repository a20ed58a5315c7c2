"""Many runs: the queue of a study's cells, the workers that take them, and what is shown."""

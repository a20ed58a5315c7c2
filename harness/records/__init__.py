"""What is kept: MLflow's records, the workspace they lie in, and what code made them."""

"""GAN ablation studies that end with a trustworthy answer."""
